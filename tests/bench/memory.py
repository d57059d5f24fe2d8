# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live patch costs a process in memory, beyond the code of the container itself.

Counted per process, before and after: anonymous pages of all mappings ("Anonymous" in smaps, copies of code
pages are among them), pages that memory files hold (a memfd's page stays beside the private copy that a
write makes of it, and smaps shows only one of the two), and page tables. From the sum the container's
segments are taken, in whole pages as they are mapped; a second row takes only the bytes that the file gives.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.report import Row, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.tools import Ulp

GOAL = 20_000  # bytes
RECORDED = "recorded value 556 kB"
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes that belong to one process alone."""

    anonymous: int
    files: int
    tables: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.anonymous + self.files + self.tables

    def __sub__(self, other: Memory) -> Memory:
        return Memory(
            anonymous=self.anonymous - other.anonymous,
            files=self.files - other.files,
            tables=self.tables - other.tables,
        )


def measure(pid: int) -> Memory:
    """Read what a process holds alone."""
    anonymous = _kilobytes(Path(f"/proc/{pid}/smaps"), "Anonymous:")
    files: dict[tuple[int, int], int] = {}
    for entry in os.scandir(f"/proc/{pid}/map_files"):
        if os.readlink(entry.path).startswith("/memfd:"):
            status = entry.stat()
            files[status.st_dev, status.st_ino] = status.st_blocks * 512
    tables = _kilobytes(Path(f"/proc/{pid}/status"), "VmPTE:")
    return Memory(anonymous=anonymous, files=sum(files.values()), tables=tables)


def _kilobytes(path: Path, field: str) -> int:
    lines = path.read_text(errors="replace").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def code_size(container: Path) -> tuple[int, int]:
    """Return the bytes of a container's loadable segments: as the file gives them, and in whole pages."""
    from elftools.elf.elffile import ELFFile

    with container.open("rb") as file:
        segments = [segment.header for segment in ELFFile(file).iter_segments(type="PT_LOAD")]
    spans = [(header.p_vaddr, header.p_vaddr + header.p_memsz) for header in segments]
    pages = sum(-(-end // _PAGE) - start // _PAGE for start, end in spans)
    return sum(end - start for start, end in spans), pages * _PAGE


def run(plan: Plan) -> Iterator[Row]:
    """Measure our live patch, and what libpulp's preload alone costs."""
    yield from _live_patch(plan, plan.ours)
    if plan.libpulp is None:
        yield Row(benchmark="memory", case="preload alone", tool="libpulp", unit="B", recorded=RECORDED)
    else:
        yield from _preload(plan, plan.libpulp)


@unbroken
def _live_patch(plan: Plan, tool: Ulp) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    exact, pages = code_size(patch)
    with Targets(built, count=plan.measured_memory) as targets:
        plain = [measure(pid) for pid in targets.pids]
        tool.apply(None, patch)
        costs = [measure(pid) - before for pid, before in zip(targets.pids, plain, strict=True)]
        changed = targets.changed_functions().count(FUNCTIONS)
        asked = [measure(pid) - before for pid, before in zip(targets.pids, plain, strict=True)]
    worst = max(costs, key=lambda cost: cost.total)
    parts = f"anonymous {worst.anonymous}, memory files {worst.files}, page tables {worst.tables}"
    touched = {"processes": changed, "bytes of code": exact, "in pages": pages}
    wrong = (
        ""
        if changed == plan.measured_memory
        else f"only {changed} of {plan.measured_memory} processes are patched"
    )
    for case, values, note in (
        ("live patch, beyond the code's pages", [cost.total - pages for cost in costs], parts),
        ("live patch, beyond the code's bytes", [cost.total - exact for cost in costs], ""),
        ("live patch, all of it, after it ran", [cost.total for cost in asked], ""),
    ):
        first = case.endswith("pages")
        yield Row(
            benchmark="memory",
            case=case,
            tool=tool.name,
            unit="B",
            values=tuple(map(float, values)),
            goal=GOAL if first else None,
            touched=touched if first else {},
            wrong=wrong,
            note=note,
        )


@unbroken
def _preload(plan: Plan, tool: Ulp) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    with Targets(built) as targets:
        plain = measure(targets.pids[0])
    with Targets(built, count=plan.measured_memory, environment=tool.target_environment) as targets:
        for case, patched in (("preload alone", False), ("preload and live patch", True)):
            if patched:
                tool.apply(None, patch)
            costs = [float((measure(pid) - plain).total) for pid in targets.pids]
            changed = targets.changed_functions().count(FUNCTIONS if patched else 0)
            wrong = "" if changed == len(costs) else f"only {changed} of {len(costs)} processes answer right"
            yield Row(
                benchmark="memory",
                case=case,
                tool=tool.name,
                unit="B",
                values=tuple(costs),
                touched={"processes": changed},
                wrong=wrong,
            )
