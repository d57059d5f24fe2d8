# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches for libraries and programs in running processes."""
