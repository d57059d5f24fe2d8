# SPDX-License-Identifier: GPL-2.0-or-later
"""Real zypper, live patch packages and processes together: what the tests of the commit plugin need."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support import rpms
from tests.support.livepatches import ten_functions
from tests.support.sandbox import REPORTS, Finished, Sandbox
from tests.support.targets import Target, answers_library, caller, running

PACKAGE = "answers-livepatches"
# zypper patches all that runs on the machine: tests beside this one must not have the same library
LIBRARY = f"libfix{os.getpid()}.so.0"
OLD, FIRST, SECOND = 100, 200, 300  # what answer_0 says without and with the live patches
PATIENCE = 30.0  # seconds for what takes a tenth of one on a quiet machine


def containers(*, count: int = 2) -> list[Path]:
    """The live patches 1, 2 ... of the library that targets call; number N answers 100 * (N + 1)."""
    library = answers_library(name=LIBRARY)
    return [
        ten_functions(100 * (n + 1), library=library, name=f"fix_livepatch{n}.so")
        for n in range(1, count + 1)
    ]


def packages() -> tuple[rpms.Spec, rpms.Spec]:
    """Two versions of a live patch package; they are cumulative as SUSE's are: the second has both containers."""
    first, second = containers()
    return (
        rpms.livepatch_spec(PACKAGE, [first], version="1"),
        rpms.livepatch_spec(PACKAGE, [first, second], version="2"),
    )


@contextlib.contextmanager
def target(*, wrapper: tuple[str, ...] = (), inner: bool = False) -> Iterator[Target]:
    """A process that calls the library."""
    with running(caller(answers_library(name=LIBRARY)), wrapper=wrapper, inner=inner) as process:
        process.until(lambda: process.answers()[0] == OLD, "the library's own answer")
        yield process


def reports(sandbox: Sandbox) -> list[dict[str, Any]]:
    """All reports, the oldest first."""
    files = sorted((sandbox.root / REPORTS).glob("2*.json"))
    return [json.loads(file.read_text()) for file in files]


def report(sandbox: Sandbox, *, finished: bool = True) -> dict[str, Any]:
    """The last report, once it is finished."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = reports(sandbox)[-1:]
        return bool(found) and (not finished or found[0]["finished"] is not None)

    until(there, "a finished report")
    return found[0]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come; fails if it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE:g} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def busy_worker(sandbox: Sandbox) -> Iterator[None]:
    """Let workers wait, as behind an earlier commit's work, until the block ends."""
    import fcntl

    lock = sandbox.root / "run/zypp-livepatch/lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def at_terminal(
    sandbox: Sandbox, *words: str, check: bool = True, env: Mapping[str, str] | None = None
) -> Finished:
    """Run zypper at a terminal; what it shows is the output."""
    command = " ".join(("zypper", "--non-interactive", *words))
    return sandbox.run(
        "script",
        "--quiet",
        "--return",
        "--command",
        command,
        "/dev/null",
        check=check,
        env={"TERM": "xterm", **(env or {})},
    )


def line_of(shown: str) -> str:
    """The line of ours in what a terminal shows, without colours; "" if there is none."""
    lines = [line for line in shown.replace("\r", "\n").splitlines() if "Live patching" in line]
    for code in ("\x1b[K", "\x1b[0m", "\x1b[32;1m", "\x1b[33;1m", "\x1b[31;1m"):
        lines = [line.replace(code, "") for line in lines]
    return next((line for line in reversed(lines) if line.startswith("Live patching: ")), "")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    text = "".join(
        (task / "children").read_text()
        for task in Path(f"/proc/{pid}/task").iterdir()
        if (task / "children").exists()
    )
    return [int(word) for word in text.split()]


def names(pid: int) -> list[str]:
    """What the descriptors of a process lead to, by number."""
    place = Path(f"/proc/{pid}/fd")
    return [
        os.readlink(place / str(number)) for number in sorted(int(path.name) for path in place.iterdir())
    ]
