# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``zypper-livepatch``, which zypper runs for ``zypper livepatch`` (zypper(8), SUBCOMMANDS)."""

from __future__ import annotations

from host.command_line import run

COMMANDS = ("report",)


def main() -> int:
    """Run ``zypper livepatch`` with the arguments of the process; returns its exit status."""
    return run(program="zypper livepatch", package="zypp_plugin.commands", commands=COMMANDS)
