# SPDX-License-Identifier: GPL-2.0-or-later
"""``make demo``: the main job before one's eyes, with real zypper, in a sandbox that leaves nothing behind."""
