# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs changes in children of its own and kills them at a given moment; tests talk to it by lines.

Starting ``ulp`` costs a Python start each time; this process has imported all of it, so a run is one fork.
It is the subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)) of all that a run leaves behind, so it knows when all
of it ended.

A line is a JSON object ``{"do": "apply"|"revert"|"list", "pid", "container", "kill": null|"tool"|"all",
"after": seconds, "die_at": null or [kind, number]}``, the answer one of ``{"killed", "seconds", "result"}``.
With ``die_at`` whichever process does the work kills itself instead of its number-th "write" or "ptrace".
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host.errors import Error
from ulp import tracee
from ulp.container import Container, read
from ulp.engines import Change, EngineName, Settings
from ulp.fleet import change
from ulp.holdings import applied

PR_SET_CHILD_SUBREAPER = 36
LONGEST_RUN = 20.0  # seconds after which a run that was not killed is a hang


def run(wanted: dict[str, Any], container: Container) -> Any:
    """What the forked child does: the change, or the list."""
    if wanted["do"] == "list":
        holdings, _ = applied(pids=[wanted["pid"]])
        return [patch.patch_id.hex() for holding in holdings for patch in holding.patches]
    asked = Change(apply=container) if wanted["do"] == "apply" else Change(revert=(container.patch_id,))
    survey = change(
        [asked], settings=Settings(timeout=10.0, engine=EngineName(sys.argv[1])), pids=[wanted["pid"]]
    )
    return [[result.outcome.value, result.reason.value, result.detail] for result in survey.results]


def die_at(kind: str, number: int) -> None:
    """Let this process, or a child of it, die by SIGKILL in place of its number-th call of one kind."""
    real: Callable[..., int] = os.pwrite if kind == "write" else tracee._ptrace
    calls = 0

    def deadly(*words: object) -> int:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)

    if kind == "write":
        os.pwrite = deadly
    else:
        tracee._ptrace = deadly


def descendants() -> set[int]:
    """Every process under this one, whichever thread of its parent started it."""
    found: set[int] = set()
    left = [os.getpid()]
    while left:
        parent = left.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with contextlib.suppress(OSError):
                    left += map(int, (task / "children").read_text().split())
        found.add(parent)
    return found - {os.getpid()}


def strike(wanted: dict[str, Any], container: Container) -> dict[str, Any]:
    """Run once; kill after ``after`` seconds where wanted; answer when nothing of it is left."""
    receiver, sender = os.pipe()
    started = time.monotonic()
    tool = os.fork()
    if tool == 0:
        os.close(receiver)
        if wanted["die_at"]:
            die_at(*wanted["die_at"])
        try:
            result = run(wanted, container)
        except Error as error:  # its helper was killed
            result = [["ERROR", "killed", error.sentence]]
        with os.fdopen(sender, "w") as stream:
            json.dump(result, stream)
        os._exit(0)
    os.close(sender)
    if wanted["kill"]:
        time.sleep(max(0.0, wanted["after"] - (time.monotonic() - started)))
        for pid in {tool} | (descendants() if wanted["kill"] == "all" else set()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    status = -1
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended == tool:
            status = how
        if ended == 0:
            if wanted["kill"] == "all":  # what was born between the list and the kill
                for pid in descendants():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert time.monotonic() - started < LONGEST_RUN, f"hangs: {wanted}"
            time.sleep(0.0002)
    with os.fdopen(receiver) as stream:
        text = stream.read()
    return {
        "killed": os.WIFSIGNALED(status),
        "seconds": time.monotonic() - started,
        "result": json.loads(text) if text and not os.WIFSIGNALED(status) else None,
    }


def main() -> None:
    """Answer lines until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    containers: dict[str, Container] = {}
    for line in sys.stdin:
        wanted = json.loads(line)
        path = wanted["container"]
        container = containers.get(path) or containers.setdefault(path, read(path))
        print(json.dumps(strike(wanted, container)), flush=True)


if __name__ == "__main__":
    main()
