# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program of ours on another day: ``python -m tests.support.dated MOMENT MODULE ARGUMENT...``.

Only the clock is another one; tests that compare with "today" need not care for midnight.
"""

from __future__ import annotations

import datetime
import importlib
import sys

from host import clock

NOW = datetime.datetime(2026, 11, 26, 23, 59, 59, tzinfo=datetime.UTC)
TODAY = NOW.date()


def command(module: str) -> list[str]:
    """Return the words that run the program of a module, such as ``klp.cli``, at ``NOW``."""
    return [sys.executable, "-m", "tests.support.dated", NOW.isoformat(), module]


if __name__ == "__main__":
    moment = datetime.datetime.fromisoformat(sys.argv[1])
    program = importlib.import_module(sys.argv[2])
    clock.now = lambda: moment
    sys.argv[:] = sys.argv[2:]
    sys.exit(program.main())
