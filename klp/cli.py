# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``klp``."""

from __future__ import annotations

import sys

from klp.readiness import Readiness

COMMANDS = (
    "status", "check", "patches", "functions", "cve", "blocking", "wait", "doctor", "lifecycle", "downgrade"
)  # fmt: skip


def main() -> int:
    """Run ``klp`` with the arguments of the process; returns its exit status."""
    status = _short_way(sys.argv[1:])
    if status is not None:
        return status
    from host.command_line import run

    return run(program="klp", package="klp.commands", commands=COMMANDS)


def _short_way(arguments: list[str]) -> int | None:
    """Answer the two questions that scripts ask all day, without what options and errors need.

    Most of the long way's time goes into importing argparse and enum. None: it has to be taken, since it has a
    sentence for whatever is out of the ordinary.
    """
    if arguments not in (["status"], ["check"]):
        return None
    try:
        readiness = Readiness("/")
        if readiness.problems or sys.stdout is None:
            return None
        if arguments == ["status"]:
            print(readiness.word, flush=True)
            return 0
        return 1 if readiness.moving else 0
    except Exception:
        return None
