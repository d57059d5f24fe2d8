# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patches: /sys/kernel/livepatch, transitions and what blocks them."""
