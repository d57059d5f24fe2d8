# SPDX-License-Identifier: GPL-2.0-or-later
"""What a benchmark says: one row for each case and tool, as a table and as JSON (docs/benchmarks.md)."""

from __future__ import annotations

import functools
import json
import statistics
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.bench.plan import Plan

SCHEMA = "zypp-livepatch-bench/1"
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One number with all that is needed to believe it.

    ``values`` are seconds, bytes or a share as ``unit`` ("s", "B" or "%") says, one for each run; none means that
    it was not measured here, and then ``recorded`` quotes what is known. ``wrong`` names what the check after the
    timing found; such a row never counts as reached.
    """

    benchmark: str
    case: str
    tool: str
    unit: str = "s"
    values: tuple[float, ...] = ()
    goal: float | None = None
    touched: Mapping[str, int] = field(default_factory=dict)
    wrong: str = ""
    recorded: str = ""
    note: str = ""

    @property
    def median(self) -> float | None:
        """The middle value, None when nothing was measured."""
        return statistics.median(self.values) if self.values else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met by the median; None when there is no goal or no measurement."""
        if self.wrong:
            return False
        if self.goal is None or self.median is None:
            return None
        return self.median <= self.goal

    def as_json(self) -> dict[str, object]:
        """Return the row as documented in docs/benchmarks.md."""
        return {
            "benchmark": self.benchmark,
            "case": self.case,
            "tool": self.tool,
            "unit": self.unit,
            "values": list(self.values),
            "median": self.median,
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "goal": self.goal,
            "reached": self.reached,
            "touched": dict(self.touched),
            "wrong": self.wrong,
            "recorded": self.recorded,
            "note": self.note,
        }


P = ParamSpec("P")
AnyTool = TypeVar("AnyTool", bound="Named")


class Named(Protocol):
    """A tool that is measured."""

    @property
    def name(self) -> str:
        """What the table calls it."""


def unbroken(
    measure: Callable[Concatenate[Plan, AnyTool, P], Iterator[Row]],
) -> Callable[Concatenate[Plan, AnyTool, P], Iterator[Row]]:
    """Make a measurement that breaks off yield a row that says so, so that the others still run.

    The row carries the name of the measurement's module and of the tool, its second argument.
    """

    @functools.wraps(measure)
    def rows(plan: Plan, tool: AnyTool, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Row]:
        try:
            yield from measure(plan, tool, *args, **kwargs)
        except Exception as error:
            benchmark = measure.__module__.rpartition(".")[2]
            wrong = f"{type(error).__name__}: {' '.join(str(error).split())}"
            yield Row(benchmark=benchmark, case="(broken off)", tool=tool.name, wrong=wrong)

    return rows


def against(rows: Iterable[Row], peers: Iterable[Row], *, times: float) -> Iterator[Row]:
    """Give each row the goal of so many times what a peer needed for the same case, if it did that right."""
    known = {
        row.case: row.median
        for row in peers
        if row.median is not None and not row.wrong and row.tool != "none"
    }
    for row in rows:
        theirs = known.get(row.case) if row.tool != "none" else None
        yield row if theirs is None else replace(row, goal=times * theirs)


def beside_libpulp(
    measure: Callable[..., Iterator[Row]], plan: Plan, *, goal: float, times: float, missing: Row
) -> Iterator[Row]:
    """Measure our tool, and where libpulp is there libpulp's and ours through it, in so many times its time.

    ``measure`` takes the plan, a tool and a goal; ``missing`` stands for a libpulp that is not there.
    """
    yield from measure(plan, plan.ours, goal=goal)
    if plan.libpulp is None:
        yield missing
        return
    theirs = list(measure(plan, plan.libpulp, goal=None))
    yield from theirs
    yield from against(measure(plan, plan.ours.preloading(plan.libpulp), goal=None), theirs, times=times)


def human(value: float | None, unit: str) -> str:
    """Return a number as people read it, with three digits and a fitting unit."""
    if value is None:
        return ""
    if unit == "B":
        return f"{value / 1000:.1f} kB" if abs(value) < MEGABYTE else f"{value / MEGABYTE:.2f} MB"
    if unit == "%":
        return f"{value:.3g} %"
    if abs(value) < 0.001:
        return f"{value * 1e6:.0f} µs"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s"


def _verdict(row: Row) -> str:
    if row.wrong:
        return f"WRONG: {row.wrong}"
    if not row.values:
        return f"not measured here; {row.recorded}" if row.recorded else "not measured here"
    return {True: "reached", False: "MISSED", None: ""}[row.reached]


def table(rows: Iterable[Row]) -> str:
    """Return the rows as aligned text, one heading for each benchmark."""
    lines: list[str] = []
    cells: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        numbers = [human(value, row.unit) for value in (row.median, *_ends(row), row.goal)]
        touched = ", ".join(f"{count} {what}" for what, count in row.touched.items())
        remarks = "; ".join(part for part in (_verdict(row), touched, row.note) if part)
        cells.setdefault(row.benchmark, []).append((row.case, row.tool, *numbers, remarks))
    heading = ("", "tool", "median", "min", "max", "goal", "")
    every = [heading, *(line for group in cells.values() for line in group)]
    widths = [max(len(line[column]) for line in every) for column in range(6)]
    for name, group in cells.items():
        lines += [f"{name}", _line(heading, widths), *(_line(line, widths) for line in group), ""]
    return "\n".join(lines)


def _ends(row: Row) -> tuple[float | None, float | None]:
    return (min(row.values), max(row.values)) if row.values else (None, None)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    case, tool, *numbers, remarks = cells
    left = f"  {case:<{widths[0]}}  {tool:<{widths[1]}}"
    middle = "".join(f"  {cell:>{width}}" for cell, width in zip(numbers, widths[2:], strict=True))
    return f"{left}{middle}  {remarks}".rstrip()


def write(path: Path, rows: Iterable[Row], *, machine: Mapping[str, object]) -> None:
    """Write the JSON file; its directory is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "machine": dict(machine), "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(document, indent=2) + "\n")
