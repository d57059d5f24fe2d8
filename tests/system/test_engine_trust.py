# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that lie about what they map: the lie must not reach a process of somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.livepatches import SUCCESS, live_patch, ulp
from tests.support.targets import Slot, caller, compiled, running
from tests.support.users import NOBODY
from ulp.memory import Memory

_NAME = f"libforged{os.getpid()}.so.0"
_FUNCTIONS = range(600)


@pytest.fixture(name="library", scope="module")
def _library() -> Path:
    """A library whose symbols take more than its first page."""
    functions = (f"__attribute__((noinline)) long f_{n}(void) {{ return 1000 + {n}; }}" for n in _FUNCTIONS)
    source = "\n".join([*functions, f"int session_{os.getpid()};\n"])
    return compiled(source, "-fPIC", "-shared", f"-Wl,-soname,{_NAME},--build-id", name=_NAME)


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_a_forged_symbol_table_misleads_nobody_else(library: Path) -> None:
    """What the live patch calls is looked up in tables that processes of one build share."""
    calls = _FUNCTIONS[2:]
    source = "\n".join(
        [
            *(f"extern long f_{n}(void);" for n in calls),
            f"long new_1(void) {{ return {' + '.join(f'f_{n}()' for n in calls)}; }}\n",
        ]
    )
    container = live_patch(library, source, {"f_1": "new_1"})
    with (
        running(compiled("forger.c", libraries=[library]), wrapper=NOBODY) as liar,
        running(caller(library, calls=["f_1"])) as victim,
    ):
        assert liar[Slot.CHECKS] > 300 and liar.pid < victim.pid
        said = ulp("trigger", "--json", "-p", str(liar.pid), "-p", str(victim.pid), container)
        assert [(row["pid"], row["outcome"], row["reason"]) for row in said.rows] == [
            (liar.pid, *SUCCESS),
            (victim.pid, *SUCCESS),
        ]
        assert victim.answers() == (sum(1000 + n for n in calls),)


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_who_may_deceive_whom(library: Path) -> None:
    program = caller(library, calls=["f_1"])
    ways = [
        (),
        (),
        NOBODY,
        ("setpriv", "--bounding-set=-chown", "--inh-caps=-chown"),
        ("unshare", "--mount"),
    ]
    domains = []
    for wrapper in ways:
        with running(program, wrapper=wrapper) as target, Memory(target.pid) as memory:
            domains.append(memory.domain)
    assert domains[0] == domains[1]
    assert len(set(domains)) == 4
