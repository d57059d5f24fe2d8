# SPDX-License-Identifier: GPL-2.0-or-later
"""A process stands still: its threads, what is on their stacks, and who may stop it; both engines stand on this."""
