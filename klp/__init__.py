# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patches: /sys/kernel/livepatch, transitions and what blocks them.

When a live patch is switched on or off, the kernel moves one thread after the other to the new functions, each at
a moment when it runs none of the old ones. Until all have moved, the kernel is in transition: threads that sleep
inside an old function block it, and no other live patch can be switched meanwhile.
"""
