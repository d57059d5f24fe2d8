# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``zypper-livepatch``, which zypper runs for ``zypper livepatch`` (zypper(8), SUBCOMMANDS)."""

from __future__ import annotations

import sys

from host.command_line import run

COMMANDS = ("status", "report")
_ABOUT_ALL = ("--help", "-h", "-?", "--usage", "--version", "-V")


def main() -> int:
    """Run ``zypper livepatch`` with the arguments of the process; returns its exit status."""
    words = sys.argv[1:]
    # without a command it is the first one
    if all(word.startswith("-") for word in words[:1]) and not set(words) & {*COMMANDS, *_ABOUT_ALL}:
        words.insert(0, COMMANDS[0])
    return run(program="zypper livepatch", package="zypp_plugin.commands", commands=COMMANDS, argv=words)
