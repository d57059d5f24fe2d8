# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user has to type for a command of ours: ``ulp`` and ``klp`` may be somebody else's (docs/packaging.md)."""

from __future__ import annotations

import os
import sys
from functools import cache

_OURS = "zypp-"  # before the names that are nobody else's


def command(line: str) -> str:
    """Return a command line of ``ulp`` or ``klp`` under the name by which ours is reached here."""
    program, blank, rest = line.partition(" ")
    return f"{_reached(program)}{blank}{rest}"


def called(program: str) -> str:
    """Return the name under which this process was started as a program of ours."""
    ours = _OURS + program
    return ours if os.path.basename(sys.argv[0]) == ours else program


@cache
def _reached(program: str) -> str:
    ours = called(program)
    if ours != program:
        return ours
    mine, usual = _find(_OURS + program), _find(program)
    if not mine:  # it was not installed from the package: there is one name only
        return program
    return program if usual and os.path.samefile(usual, mine) else _OURS + program


def _find(name: str) -> str:
    """Return where a shell would find a program, "" if nowhere."""
    paths = (os.path.join(place, name) for place in os.get_exec_path())
    return next((path for path in paths if os.access(path, os.X_OK)), "")
