# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that start later: what the kernel tells of them, and the live patches that they then need."""
