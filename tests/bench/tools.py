# SPDX-License-Identifier: GPL-2.0-or-later
"""The tools that are compared: our ulp with either engine, libpulp's ulp (the same command line) and LibcarePlus.

The peers are found through the environment: ZLP_LIBPULP names a directory with ``ulp`` and ``libpulp.so.0``,
ZLP_LIBCARE one with ``libcare-ctl`` and ``make-patch`` (docs/benchmarks.md says what that has to do).
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.target import FUNCTIONS, NEW, compile_c, source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.target import Build


_PATIENCE = 300.0  # seconds, for one command
_MOST_WORDS = 300  # characters of what a tool says


class ToolError(Exception):
    """A tool did not do what it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One command, from before its start to after its end."""

    seconds: float
    cpu: float  # seconds, user and system
    output: str
    errors: str


def run(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, status: int = 0
) -> Run:
    """Run a command to its end and time it; ToolError when its exit status is another one."""
    used = _children_cpu()
    start = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=_PATIENCE
    )
    seconds = time.perf_counter() - start
    if done.returncode != status:
        words = " ".join(map(str, command))
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ToolError(f"{words} ended with {done.returncode}: {''.join(said)[:_MOST_WORDS]}")
    return Run(seconds=seconds, cpu=_children_cpu() - used, output=done.stdout, errors=done.stderr)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One apply or revert as its tool tells it."""

    run: Run
    pause: float | None  # seconds


@dataclass(frozen=True, slots=True)
class Ulp:
    """Our ulp or libpulp's: both have the same commands, ours has more options."""

    name: str
    command: Path
    preload: Path | None = None
    is_ours: bool = True

    pads = True  # of the library that it patches

    def preloading(self, peer: Ulp) -> Ulp:
        """Return this tool, with targets that preload the peer's library."""
        return replace(self, name=f"{self.name}-pulp", preload=peer.preload)

    @property
    def target_environment(self) -> dict[str, str]:
        """What a target has to be started with."""
        return {"LD_PRELOAD": str(self.preload)} if self.preload else {}

    @property
    def own_environment(self) -> dict[str, str]:
        """What the tool runs with: as installed, where Python's bytecode is there already."""
        return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def run(self, *arguments: str | Path, status: int = 0) -> Run:
        """Run one of its commands."""
        return run([self.command, *arguments], environment=self.own_environment, status=status)

    def make_patch(self, built: Build, changed: int = FUNCTIONS) -> Path:
        """Build a container that changes the first functions of the library."""
        stem = built.directory / f"{self.name}_livepatch{changed}"
        container, new, description = (stem.with_suffix(suffix) for suffix in (".so", ".c", ".dsc"))
        new.write_text(source(prefix="new_answer", base=NEW))
        compile_c(new, container, "-fPIC", "-shared", "-Wl,--hash-style=both", "-Wl,--build-id=sha1")
        pairs = (f"bench_answer_{number}:new_answer_{number}" for number in range(changed))
        description.write_text("\n".join([str(container), f"@{built.library}", *pairs, ""]))
        self.run("packer", description)
        return container

    def apply(self, pid: int | None, patch: Path) -> Change:
        """Patch one process, or every process for None."""
        return self._trigger(pid, patch)

    def revert(self, pid: int | None, patch: Path) -> Change:
        """Take the patch back."""
        return self._trigger(pid, "--revert", patch)

    def rehearse(self, pid: int, patch: Path) -> Run | None:
        """Do all that comes before the stop; None where the tool cannot."""
        return self.run("trigger", "--dry-run", "-p", str(pid), patch) if self.is_ours else None

    def _trigger(self, pid: int | None, *arguments: str | Path) -> Change:
        selection = () if pid is None else ("-p", str(pid))
        # One try often meets a lock of the allocator of a target that preloads libpulp; SUSE's scripts ask for 100.
        tries = ("-r", "100") if self.preload else ()
        if not self.is_ours:
            return Change(run=self.run("trigger", *tries, *selection, *arguments), pause=None)
        done = self.run("trigger", "--json", *tries, *selection, *arguments)
        pauses = [
            result["longest_pause"] or result["pause"] for result in json.loads(done.output)["results"]
        ]
        return Change(run=done, pause=max((pause for pause in pauses if pause), default=None))


@dataclass(frozen=True, slots=True)
class Libcare:
    """LibcarePlus: patches one process at a time."""

    directory: Path

    name = "LibcarePlus"
    pads = False

    @property
    def target_environment(self) -> dict[str, str]:
        """What a target has to be started with: nothing."""
        return {}

    def make_patch(self, built: Build, changed: int = FUNCTIONS) -> Path:
        """Build a patch that changes the first functions of the library."""
        new, patch = (built.directory / f"libcare{changed}{suffix}" for suffix in (".c", ".kpatch"))
        new.write_text(source(prefix="bench_answer", base=NEW, changed=changed))
        run([self.directory / "make-patch", built.directory / "old.c", new, built.library, patch])
        return patch

    def apply(self, pid: int, patch: Path) -> Change:
        """Patch one process."""
        return self._control("patch", "-p", str(pid), str(patch))

    def revert(self, pid: int, patch: Path) -> Change:
        """Take the patch back; it is known by its id, and ``make-patch`` calls every one 0001."""
        del patch
        return self._control("unpatch", "-p", str(pid), "-i", "0001")

    def rehearse(self, pid: int, patch: Path) -> Run | None:
        """Return None: it cannot."""
        del pid, patch
        return None

    def _control(self, *arguments: str) -> Change:
        done = run([self.directory / "libcare-ctl", "-v", *arguments])
        match = re.search(r"frozen_time is (\d+) microsecond", done.output + done.errors)
        return Change(run=done, pause=int(match[1]) / 1e6 if match else None)


def ours() -> Ulp:
    """The ulp of the environment that runs the benchmark."""
    return Ulp("ulp", Path(sys.executable).parent / "ulp")


def libpulp() -> Ulp | None:
    """libpulp, when the environment names it."""
    directory = _peer("ZLP_LIBPULP", "ulp", "libpulp.so.0")
    if directory is None:
        return None
    return Ulp("libpulp", directory / "ulp", directory / "libpulp.so.0", is_ours=False)


def libcare() -> Libcare | None:
    """LibcarePlus, when the environment names it."""
    directory = _peer("ZLP_LIBCARE", "libcare-ctl", "make-patch")
    return Libcare(directory) if directory else None


def _peer(variable: str, *files: str) -> Path | None:
    if not os.environ.get(variable):
        return None
    directory = Path(os.environ[variable]).absolute()
    if missing := [name for name in files if not (directory / name).exists()]:
        raise ToolError(f"{variable} names {directory}, where {' and '.join(missing)} cannot be found")
    return directory
