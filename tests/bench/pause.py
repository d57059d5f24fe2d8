# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a spinning thread stands still while its process is patched.

One thread reads the clock in a tight loop, the others sleep. The largest gap between two readings during one
``ulp trigger`` is the pause that the process feels; what the tool reports is printed beside it, and so is
the largest gap while nothing is done, the noise of the machine, and during ``ulp trigger --dry-run``: what the
thread loses because the command needs a processor too, without any stop. Where libpulp is there, its tool and ours
also patch a process that preloads it.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, against, human, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bench.plan import Plan
    from tests.bench.tools import Change, Libcare, Ulp

GOALS = {2: 0.000_25, 16: 0.000_5, 64: 0.001_2, 256: 0.005}  # seconds by threads
PART = 1 / 2  # of libpulp's pause, for a process with one thread that preloads it
RECORDED = {
    "LibcarePlus": {2: "5 ms", 16: "15 ms", 64: "100 ms"},
    "libpulp": {1: "2 to 4 ms"},
}


def run(plan: Plan) -> Iterator[Row]:
    """Measure every tool with every number of threads, with one function and with ten."""
    for threads in plan.threads:
        for functions in (1, FUNCTIONS):
            yield from _measure(plan, plan.ours, threads=threads, functions=functions)
        yield from _measure(plan, plan.ours, threads=threads, functions=FUNCTIONS, pads=False)
        yield from _preloaded(plan, threads)
        if plan.libcare is not None:
            yield from _measure(plan, plan.libcare, threads=threads, functions=FUNCTIONS)
        else:
            yield from _recorded("LibcarePlus", threads)


def _preloaded(plan: Plan, threads: int) -> Iterator[Row]:
    if plan.libpulp is None:
        yield from _recorded("libpulp", threads)
        return
    theirs = list(_measure(plan, plan.libpulp, threads=threads, functions=FUNCTIONS))
    yield from theirs
    ours = _measure(plan, plan.ours.preloading(plan.libpulp), threads=threads, functions=FUNCTIONS)
    yield from against(ours, theirs, times=PART) if threads == 1 else ours


def _recorded(name: str, threads: int) -> Iterator[Row]:
    if known := RECORDED[name].get(threads):
        yield Row(benchmark="pause", case=_case(threads), tool=name, recorded=f"recorded value {known}")


def _case(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


@unbroken
def _measure(
    plan: Plan, tool: Ulp | Libcare, *, threads: int, functions: int, pads: bool | None = None
) -> Iterator[Row]:
    pads = tool.pads if pads is None else pads
    built = build(plan.directory / ("pads" if pads else "plain"), pads=pads)
    patch = tool.make_patch(built, functions)
    quiet: list[float] = []
    rehearsed: list[float] = []
    gaps: dict[str, list[float]] = {"apply": [], "revert": []}
    reported: dict[str, list[float]] = {"apply": [], "revert": []}
    wrong = dict.fromkeys(gaps, "")
    changed_bytes = quiet_starts = 0
    with Targets(built, threads=threads, spins=True, environment=tool.target_environment) as targets:
        pid = targets.pids[0]
        counted = targets.threads()
        if counted != threads:
            wrong = dict.fromkeys(gaps, f"{counted} threads, not {threads}")
        _once(tool.apply, pid, patch)  # brings program and container into the page cache
        _once(tool.revert, pid, patch)
        for _ in range(plan.repeats):
            machine.wait_until_quiet(plan.patience, running=2)
            targets.open_window()
            if tool.rehearse(pid, patch) is not None:
                rehearsed.append(targets.gap().seconds)
                if targets.changed_functions() != [0]:
                    wrong["apply"] = "--dry-run changed functions"
            for deed, call, expected in (("apply", tool.apply, functions), ("revert", tool.revert, 0)):
                quiet_starts += machine.wait_until_quiet(plan.patience, running=2)  # one spins
                targets.open_window()
                change = call(pid, patch)
                gap = targets.gap()
                gaps[deed].append(gap.seconds)
                if change.pause is not None:
                    reported[deed].append(change.pause)
                if targets.changed_functions() != [expected]:
                    wrong[deed] = f"{targets.changed_functions()[0]} functions answer anew, not {expected}"
                elif change.pause is not None and gap.seconds < change.pause / 3 and gap.seconds < 50e-6:
                    wrong[deed] = f"a pause of {human(change.pause, 's')} is reported and none was seen"
                changed_bytes = max(changed_bytes, targets.changed_bytes())
                targets.open_window()
                time.sleep(min(change.run.seconds, 0.1))
                quiet.append(targets.gap().seconds)
    where = (
        f"{_case(threads)}, {functions} function{'s' if functions > 1 else ''}{'' if pads else ', no pads'}"
    )
    touched = {"threads": counted, "functions": functions, "bytes of code": changed_bytes}
    goals = {"apply": GOALS.get(threads), "revert": None}
    if tool is not plan.ours:
        goals = dict.fromkeys(goals)
    for deed, values in gaps.items():
        said = f"the tool says {human(statistics.median(reported[deed]), 's')}" if reported[deed] else ""
        yield Row(
            benchmark="pause",
            case=f"{where}, {deed}",
            tool=tool.name,
            values=tuple(values),
            goal=goals[deed],
            touched=touched if deed == "apply" else {},
            wrong=wrong[deed],
            note=said,
        )
    if rehearsed:
        yield Row(benchmark="pause", case=f"{where}, dry run", tool=tool.name, values=tuple(rehearsed))
    busy = 2 * plan.repeats - quiet_starts
    note = f"the machine was busy at {busy} of {2 * plan.repeats} starts" if busy else ""
    yield Row(benchmark="pause", case=f"{where}, nothing done", tool="none", values=tuple(quiet), note=note)


def _once(call: Callable[[int, Path], Change], pid: int, patch: Path) -> None:
    call(pid, patch)
