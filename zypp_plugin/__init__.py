# SPDX-License-Identifier: GPL-2.0-or-later
"""The zypper commit plugin, its worker and its report."""
