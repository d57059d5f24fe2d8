# SPDX-License-Identifier: GPL-2.0-or-later
"""One ``ulp trigger -p PID``, the whole command in a fresh process: what a person waits for.

"Cold" is a new Python with a warm page cache. With --drop-caches the page cache is emptied before some more
runs; that slows down everybody on the machine, so it is not the default, and it has no goal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, unbroken
from tests.bench.target import FUNCTIONS, Targets, build
from tests.bench.tools import run as run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.tools import Ulp

GOAL = 0.08  # seconds
RECORDED = "recorded value 5 ms"
_DROP = Path("/proc/sys/vm/drop_caches")


def run(plan: Plan) -> Iterator[Row]:
    """Time one apply and one revert at a time."""
    yield from _measure(plan, plan.ours, goal=GOAL)
    if plan.drop_caches:
        yield from _measure(plan, plan.ours, goal=None, dropped=True)
    if plan.libpulp is not None:
        yield from _measure(plan, plan.libpulp, goal=None)
        yield from _measure(plan, plan.ours.preloading(plan.libpulp), goal=GOAL)
    else:
        yield Row(benchmark="single", case="apply", tool="libpulp", recorded=RECORDED)


@unbroken
def _measure(plan: Plan, tool: Ulp, *, goal: float | None, dropped: bool = False) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    values: dict[str, list[float]] = {"apply": [], "revert": []}
    cpu: dict[str, list[float]] = {"apply": [], "revert": []}
    wrong = dict.fromkeys(values, "")
    plain: list[float] = []
    with Targets(built, environment=tool.target_environment) as targets:
        pid = targets.pids[0]
        tool.apply(pid, patch)
        tool.revert(pid, patch)
        for _ in range(min(3, plan.commands) if dropped else plan.commands):
            machine.wait_until_quiet(plan.patience)
            plain.append(run_command([sys.executable, "-c", "pass"]).seconds)
            for deed, call, expected in (("apply", tool.apply, FUNCTIONS), ("revert", tool.revert, 0)):
                if dropped:
                    os.sync()
                    _DROP.write_text("3")
                machine.wait_until_quiet(plan.patience)
                change = call(pid, patch)
                values[deed].append(change.run.seconds)
                cpu[deed].append(change.run.cpu)
                if targets.changed_functions() != [expected]:
                    wrong[deed] = f"{targets.changed_functions()[0]} functions answer anew, not {expected}"
    for deed, seconds in values.items():
        yield Row(
            benchmark="single",
            case=f"{deed}{', page cache dropped' if dropped else ''}",
            tool=tool.name,
            values=tuple(seconds),
            goal=goal if deed == "apply" else None,
            touched={"processes": 1, "functions": FUNCTIONS} if deed == "apply" else {},
            wrong=wrong[deed],
            note=f"CPU {min(cpu[deed]) * 1000:.0f} ms",
        )
    if tool is plan.ours and not dropped:
        yield Row(benchmark="single", case="python -c pass, in between", tool="none", values=tuple(plain))
