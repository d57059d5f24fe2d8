# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests, and the processes that they change, in the emulated machine: part of the agent."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.support.machine.copies import copied, text

_endless = contextlib.ExitStack()
_targets: dict[int, Any] = {}


def settle() -> None:
    """Let tests be imported."""
    sys.modules["pytest"] = _Marks()  # type: ignore[assignment]


def test(cases: Sequence[Mapping[str, Any]]) -> str:
    """Call tests that need nothing but what was compiled before; returns how they failed, "" if none did.

    A case has its ``name``, MODULE:FUNCTION, its ``arguments``, and ``settings``: constants of the module.
    """
    said = os.memfd_create("said")
    pid = os.fork()
    if pid == 0:
        _test(cases, said)
    while os.wait()[0] != pid:  # orphans are ours, too
        pass
    return text(said)


def _test(cases: Sequence[Mapping[str, Any]], said: int) -> NoReturn:
    os.dup2(said, 2)
    try:
        _settle_targets()
        importlib.import_module("ulp.commands.trigger")
        livepatches = importlib.import_module("tests.support.livepatches")
        vars(livepatches)["subprocess"] = types.SimpleNamespace(run=_ulp)
        for case in cases:
            module, _, function = case["name"].partition(":")
            tests = importlib.import_module(module)
            vars(tests).update(case["settings"])
            getattr(tests, function)(**case["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _ulp(words: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
    done = copied("ulp", words[1:])
    return subprocess.CompletedProcess(words, done["status"], done["output"], done["errors"])


def _settle_targets() -> None:
    """Let tests find what was compiled for this machine, by the process that has booted it."""
    from tests.support import targets

    origin = json.loads((Path(__file__).parents[2] / "origin").read_text())
    vars(targets)["workshop"] = lambda: Path(origin["workshop"])
    targets.Session.number = origin["session"]


class _Marks:
    """Stands in for pytest, which takes long to start here: to a test that is just called its marks mean nothing."""

    def __getattr__(self, name: str) -> _Marks:
        return self

    def __call__(self, *words: object, **more: object) -> object:
        return words[0] if words and callable(words[0]) else self


def target() -> int:
    """Start a process that calls the library; returns its id."""
    _settle_targets()
    from tests.support.targets import answers_library, caller, running

    process = _endless.enter_context(running(caller(answers_library()), "nap=20000"))
    _targets[process.pid] = process
    return process.pid


def answer(pid: int) -> int:
    """Return what a process gets that ``target`` has started, from now on."""
    (value,) = _targets[pid].answers()
    return int(value)
