# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, what is available and until when it is maintained."""
