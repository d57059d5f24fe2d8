# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes that are patched: built from target.c, started in numbers, asked what they answer.

Every process shares a slot of one file with the benchmark (struct slot in target.c), so that looking at it
disturbs nothing.
"""

from __future__ import annotations

import mmap
import os
import secrets
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FUNCTIONS = 10
OLD, NEW = 100, 200  # function n answers OLD + n before and NEW + n after
LIBRARY = "libbench.so.0"
_SLOT = struct.Struct("=QQIIII10I56x")  # struct slot
_WINDOW_OFFSET = 16
_PATIENCE = 60.0  # seconds until a target that does not answer counts as dead


class TargetError(Exception):
    """A target did not start or does not answer."""


def source(*, prefix: str, base: int, changed: int = FUNCTIONS) -> str:
    """Return C source of the ten functions; those from ``changed`` on keep their old answer."""
    values = [(base if number < changed else OLD) + number for number in range(FUNCTIONS)]
    return "".join(
        f"int {prefix}_{number}(void) {{ return {value}; }}\n" for number, value in enumerate(values)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """The built program and library."""

    directory: Path
    program: Path
    library: Path


def compile_c(source_file: Path, output: Path, *options: str) -> None:
    """Compile one file; CalledProcessError carries what gcc said."""
    command: list[str | Path] = ["gcc", "-O2", "-o", output, source_file, *options]
    subprocess.run(command, check=True, capture_output=True, text=True)


def build(directory: Path, *, pads: bool = True) -> Build:
    """Build program and library below a directory.

    libpulp needs pads before the functions, a DT_HASH table and a 20-byte build-id; LibcarePlus cannot make
    a patch for a library with pads. Ours takes both. The build-id is a new one each time: two benchmarks on one
    machine shall not patch each other's processes.
    """
    directory.mkdir(exist_ok=True)
    here = Path(__file__).parent
    library = directory / LIBRARY
    (directory / "old.c").write_text(source(prefix="bench_answer", base=OLD))
    entry = ("-fpatchable-function-entry=16,14",) if pads else ()
    linking = (
        "-Wl,--hash-style=both",
        f"-Wl,--build-id=0x{secrets.token_hex(20)}",
        f"-Wl,-soname,{LIBRARY}",
    )
    compile_c(directory / "old.c", library, "-fPIC", "-shared", *entry, *linking)
    program = directory / "target"
    compile_c(here / "target.c", program, f"-I{here}", "-pthread", str(library), f"-Wl,-rpath,{directory}")
    return Build(directory=directory, program=program, library=library)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """What the spinning thread saw in one window."""

    seconds: float
    readings: int


class Targets:
    """Running targets, ended when the ``with`` block is left, whatever happens."""

    def __init__(
        self,
        built: Build,
        *,
        count: int = 1,
        threads: int = 1,
        spins: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._build = built
        self._count = count
        self._threads = threads
        self._mode = "spin" if spins else "sleep"
        self._environment = {**os.environ, **(environment or {})}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        page = self._build.directory / "page"
        page.write_bytes(bytes(_SLOT.size * self._count))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        try:
            for number in range(self._count):
                command = [str(self._build.program), str(page), str(number), str(self._threads), self._mode]
                self._processes.append(subprocess.Popen(command, env=self._environment))
            self._wait(lambda number: self._slot(number)[4], "start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._page.close()

    @property
    def pids(self) -> list[int]:
        """The processes, in the order of their slots."""
        return [process.pid for process in self._processes]

    def threads(self) -> int:
        """Count the threads of all targets as the kernel sees them."""
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in self.pids)

    def answers(self) -> list[tuple[int, ...]]:
        """Ask every process and return what its ten functions answer now."""
        before = [self._slot(number)[5] for number in range(self._count)]
        for process in self._processes:
            process.send_signal(signal.SIGUSR1)
        self._wait(lambda number: self._slot(number)[5] - before[number], "answer")
        return [self._slot(number)[6:] for number in range(self._count)]

    def changed_functions(self) -> list[int]:
        """Return for every process how many functions give the new answer."""
        return [
            sum(answer == NEW + number for number, answer in enumerate(answers))
            for answers in self.answers()
        ]

    def open_window(self) -> None:
        """Let the spinning thread of the first target start noting afresh."""
        window = self._slot(0)[2] + 1
        struct.pack_into("=I", self._page, _WINDOW_OFFSET, window)
        self._wait(lambda number: number > 0 or self._slot(0)[3] == window, "open a window")

    def gap(self) -> Gap:
        """Return the largest gap since the window was opened, once the spinning thread has run again.

        A tool may be gone before the thread that it let go has a CPU; the second reading from then on has
        seen the whole stop.
        """
        before = self._slot(0)[1]
        self._wait(lambda number: number > 0 or self._slot(0)[1] >= before + 2, "run on")
        nanoseconds, readings = self._slot(0)[:2]
        return Gap(seconds=nanoseconds / 1e9, readings=readings)

    def changed_bytes(self, number: int = 0) -> int:
        """Count the bytes of the library's code in one process that differ from its file."""
        pid = self.pids[number]
        different = 0
        on_disk = self._build.library.read_bytes()
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                span, permissions, offset, *rest = line.split(maxsplit=5)
                if "x" not in permissions or not rest[-1].rstrip("\n").endswith(f"/{LIBRARY}"):
                    continue
                start, end = (int(part, 16) for part in span.split("-"))
                memory.seek(start)
                code = memory.read(end - start)
                original = on_disk[int(offset, 16) : int(offset, 16) + len(code)]
                different += sum(a != b for a, b in zip(code, original, strict=False))
        return different

    def _slot(self, number: int) -> tuple[int, ...]:
        return _SLOT.unpack_from(self._page, number * _SLOT.size)

    def _wait(self, ready: Callable[[int], object], deed: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        for number, process in enumerate(self._processes):
            while not ready(number):
                if process.poll() is not None:
                    raise TargetError(
                        f"target {process.pid} ended with {process.returncode} and did not {deed}"
                    )
                if time.monotonic() > deadline:
                    raise TargetError(f"target {process.pid} did not {deed} within {_PATIENCE:.0f} s")
                time.sleep(0.0005)
