# SPDX-License-Identifier: GPL-2.0-or-later
"""The direct engine in the emulated machine: tests that need nothing but processes run there as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.livepatches import ten_functions
from tests.support.machine import guest
from tests.support.machine.machine import Machine
from tests.support.targets import PROGRAMS, Session, answers_library, caller, program, workshop

_SOURCES = ("__init__", "support/__init__", "support/containers", "support/livepatches", "support/targets")
_TESTS = ("seccomp", "threads", "transparency")
_PROGRAMS = ("registers", "pingpong", "waits", "timers", "churn")


def files() -> dict[str, Path | bytes]:
    """Return what tests of the engine need, compiled, by its paths in the machine."""
    origin = {"workshop": str(workshop()), "session": Session.number}
    targets = [caller(answers_library()), *map(program, _PROGRAMS)]
    made = [answers_library(), *targets, ten_functions(200), *guest.needed(targets), *_unwinder()]
    sources = [*_SOURCES, "system/__init__", *(f"system/test_engine_{name}" for name in _TESTS)]
    return {
        **{f"{guest.HOME}/tests/{name}.py": guest.PROJECT / f"tests/{name}.py" for name in sources},
        # what was compiled is known by its source
        **{f"{guest.HOME}/tests/support/programs/{path.name}": path for path in PROGRAMS.glob("*.c")},
        **{str(path): path for path in made},
        **guest.python_packages(["capstone"]),
        f"{guest.HOME}/tests/origin": json.dumps(origin).encode(),
    }


def _unwinder() -> list[Path]:
    """What pthread_exit(3) loads."""
    return list(Path("/lib/x86_64-linux-gnu").glob("libgcc_s.so.1"))


def case(name: str, *, settings: Mapping[str, object] | None = None, **arguments: object) -> dict[str, Any]:
    """Return how a test of the engine is called, MODULE:FUNCTION; ``settings`` are other constants for its module."""
    return {"name": f"tests.system.test_engine_{name}", "settings": settings or {}, "arguments": arguments}


def run(machine: Machine, cases: Sequence[Mapping[str, Any]]) -> str:
    """Run tests of the engine in the machine; returns how they failed, "" if none did."""
    return str(machine.call("test", cases=cases))
