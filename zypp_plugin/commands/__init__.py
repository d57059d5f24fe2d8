# SPDX-License-Identifier: GPL-2.0-or-later
"""The subcommands of ``zypper livepatch``, one module each."""
