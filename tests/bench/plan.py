# SPDX-License-Identifier: GPL-2.0-or-later
"""How much a benchmark does, and with which tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.tools import Libcare, Ulp


THREADS = (1, 2, 16, 64, 256)  # of the process whose pause is measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The sizes of a run; the defaults are those of the goals."""

    directory: Path  # scratch, removed afterwards
    ours: Ulp
    libpulp: Ulp | None = None
    libcare: Libcare | None = None
    repeats: int = 9
    threads: tuple[int, ...] = THREADS
    listed: int = 500
    triggered: int = 200
    commands: int = 15  # runs of one short command
    pairs: int = 9  # of zypper with and without the plugin
    measured_memory: int = 10  # processes
    available: tuple[int, ...] = (32_000, 100_000, 320_000)  # packages in the repositories
    tasks: int = 5000  # that klp blocking looks at
    packages: int = 2000  # in the rpm database that klp patches reads
    starts: int = 10  # of programs that a watcher patches
    stormed: int = 2000  # short processes in a storm
    storms: int = 5
    life: float = 0.1  # seconds that a program has to live for to be patched for sure in a storm
    patience: float = 1.0  # seconds to wait for a quiet moment before each run
    drop_caches: bool = False

    @classmethod
    def tiny(cls, directory: Path, *, ours: Ulp, libpulp: Ulp | None = None) -> Plan:
        """Return a plan that shows within a second whether the benchmarks work; its numbers mean nothing."""
        return cls(
            directory=directory,
            ours=ours,
            libpulp=libpulp,
            repeats=1,
            threads=(2,) if libpulp is None else (1, 2),
            listed=3,
            triggered=3,
            commands=1,
            pairs=1,
            measured_memory=2,
            available=(64,),
            tasks=20,
            packages=3,
            starts=2,
            stormed=40,
            storms=1,
            life=30.0,  # a busy machine is no failure
            patience=0.0,
        )
