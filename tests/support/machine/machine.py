# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines with a real kernel, as tests use them: booted once, then each test goes on from the saved state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.machine import guest
from tests.support.machine.cpio import Archive
from tests.support.machine.kernels import Kernel
from tests.support.machine.qemu import Emulator, MachineError, emulator

_ROOT, _STATE = "root", "state"  # files of a saved machine
_SYSTEM_CALLS = {"pause": 34, "vfork": 58}  # x86_64


class Finished(NamedTuple):
    """A command that has ended in the machine."""

    status: int
    output: str
    errors: str


class Machine:
    """A running machine; each method raises MachineError if the machine fails."""

    def __init__(self, running: Emulator) -> None:
        self._running = running

    def call(self, name: str, /, **arguments: object) -> Any:
        """Let the agent do something (one of agent.py's calls) and return its answer."""
        self._running.send({"call": name, "arguments": arguments})
        answer = self._running.receive()
        self._running.pause()
        if "answer" not in answer:
            raise MachineError(f"{name} {arguments}: {answer.get('trouble')}\n{self._running.console()}")
        return answer["answer"]

    def every(self, *calls: tuple[str, Mapping[str, object]]) -> list[Any]:
        """Make several calls with no time between them, however busy the emulating machine is."""
        made: list[Any] = self.call(
            "every", calls=[{"call": name, "arguments": words} for name, words in calls]
        )
        return made

    def run(self, *words: str, user: int = 0) -> Finished:
        """Run a command to its end."""
        return Finished(**self.call("run", words=words, user=user))

    def klp(self, *words: str, user: int = 0) -> Finished:
        """Run our klp, without the time that Python takes to start; ``run`` does the same with it."""
        return Finished(**self.call("klp", words=words, user=user))

    def sleeper(self, call: str) -> int:
        """Start a process that sleeps in a system call, "vfork" or "pause"; returns its id when it does."""
        pid: int = self.call("start", words=["sleeper", call], inside=_SYSTEM_CALLS[call])
        return pid

    def tried(self, call: str) -> int:
        """Make a system call, "vfork" or "pause", and return the number of its error; 0 without."""
        return int(self.run("sleeper", "try", call).output)

    def read(self, path: str) -> str | None:
        """Return what is in a file; None if it is not there."""
        text: str | None = self.call("read", path=path)
        return text

    def end(self) -> None:
        """Let the machine end itself; raises MachineError if it cannot."""
        self._running.send({"call": "end", "arguments": {"value": 0}})
        if self._running.ended() != 0:
            raise MachineError(f"the machine did not end well\n{self._running.console()}")


class Saved:
    """A machine that has booted and waits for its next request, any number of times; kept in a directory."""

    def __init__(self, kernel: Kernel, place: Path) -> None:
        self.kernel = kernel
        self._place = place

    @contextmanager
    def running(self) -> Iterator[Machine]:
        """Let it go on; what happens in it is seen by nobody else."""
        with (
            (self._place / _ROOT).open("rb") as root,
            (self._place / _STATE).open("rb") as state,
            emulator(self.kernel.image, root, state=state) as running,
        ):
            yield Machine(running)


def boot(
    kernel: Kernel,
    files: Mapping[str, Path | bytes],
    *,
    into: Path,
    prepare: Callable[[Machine], None] = lambda machine: None,
) -> None:
    """Boot a kernel with further files in its root, programs among them, and save the machine in a directory.

    ``prepare`` is what is done in it before that. Raises Unavailable or MachineError.
    """
    base = guest.root()
    base.seek(0)
    with (into / _ROOT).open("w+b") as root:
        shutil.copyfileobj(base, root, 1 << 20)
        with Archive(root) as archive:
            for path, source in files.items():
                program = isinstance(source, Path) and os.access(source, os.X_OK)
                archive.file(path, source, 0o755 if program else 0o644)
        root.flush()
        with emulator(kernel.image, root) as running:
            release = running.receive()["ready"]
            if release != kernel.release:
                raise MachineError(f"{release} runs, not {kernel.release}")
            prepare(Machine(running))
            with (into / _STATE).open("w+b") as state:
                running.save(state)
