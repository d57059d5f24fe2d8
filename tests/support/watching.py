# SPDX-License-Identifier: GPL-2.0-or-later
"""A real ``ulp watch`` in the sandbox, and what it says; it hears of the processes outside as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from host import procfs
from host.errors import Error
from tests.support.commits import FIRST
from tests.support.sandbox import Sandbox
from tests.support.targets import Target
from ulp.watch.births import Births

_LONGEST = 120.0  # seconds that one watcher runs


def untold() -> str:
    """Return why the kernel does not tell of processes that start; "" where it does."""
    try:
        Births()
    except Error as error:
        return error.sentence
    return ""


class Watch:
    """A running watcher."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    def until(self, event: str, *, pid: int | None = None) -> dict[str, Any]:
        """Return the next event of a kind (about a process); what does not come ends with the watcher."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event and pid in (None, self.events[-1]["pid"]):
                return self.events[-1]
        raise AssertionError(
            f"no {event}: {self.events} {self.process.stderr and self.process.stderr.read()}"
        )

    def patched(self, process: Target, answer: int = FIRST) -> dict[str, Any]:
        """Wait until a process is patched."""
        found = self.until("patched", pid=process.pid)
        assert process.answers()[0] == answer
        return found

    def seconds(self) -> float:
        """How long it and its children have been running on a processor."""
        fields = procfs.read(f"/proc/{self.process.pid}/stat").rpartition(b")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> list[dict[str, Any]]:
        """Let it end and return what it said since."""
        self.process.send_signal(signal.SIGTERM)
        rest, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")
        return [json.loads(line) for line in rest.splitlines()]


@contextmanager
def watching(machine: Sandbox, *words: str | Path, longest: float = _LONGEST) -> Iterator[Watch]:
    """Run a watcher, which has looked at all processes, for so many seconds at most."""
    process = subprocess.Popen(
        machine.argv(words or ["ulp", "watch", "--json"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(longest, process.kill)  # an event that never comes must not hold all tests
    limit.start()
    try:
        watch = Watch(process)
        watch.until("survey")
        yield watch
    finally:
        limit.cancel()
        process.kill()
        process.communicate()
