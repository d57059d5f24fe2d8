# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp trigger`` of one container over many processes, the whole command; and its ``--revert``.

Where libpulp is there, also over processes that preload it, with its tool and with ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, beside_libpulp, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.tools import Ulp

GOAL = 0.3  # seconds, 200 processes; 0.16 s is what comes after it
TIMES = 1.5  # of libpulp's time
RECORDED = "recorded value 0.16 s (200 processes)"


def run(plan: Plan) -> Iterator[Row]:
    """Patch and revert all processes with each tool that is there."""
    missing = Row(benchmark="trigger", case="apply", tool="libpulp", recorded=RECORDED)
    yield from beside_libpulp(_measure, plan, goal=GOAL, times=TIMES, missing=missing)


@unbroken
def _measure(plan: Plan, tool: Ulp, *, goal: float | None) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    values: dict[str, list[float]] = {"apply": [], "revert": []}
    cpu: dict[str, list[float]] = {"apply": [], "revert": []}
    right: dict[str, int] = dict.fromkeys(values, plan.triggered)
    with Targets(built, count=plan.triggered, environment=tool.target_environment) as targets:
        for turn in range(plan.repeats + 1):
            for deed, call, expected in (("apply", tool.apply, FUNCTIONS), ("revert", tool.revert, 0)):
                machine.wait_until_quiet(plan.patience)
                change = call(None, patch)
                right[deed] = min(right[deed], targets.changed_functions().count(expected))
                if turn:  # the first one brings program and container into the page cache
                    values[deed].append(change.run.seconds)
                    cpu[deed].append(change.run.cpu)
    for deed, seconds in values.items():
        yield Row(
            benchmark="trigger",
            case=f"{plan.triggered} processes, {deed}",
            tool=tool.name,
            values=tuple(seconds),
            goal=goal if deed == "apply" else None,
            touched={"processes that answer right": right[deed], "functions in each": FUNCTIONS},
            wrong=""
            if right[deed] == plan.triggered
            else f"only {right[deed]} of {plan.triggered} answer right",
            note=f"CPU {min(cpu[deed]):.3f} s",
        )
