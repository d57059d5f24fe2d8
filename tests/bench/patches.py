# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp patches`` over many sleeping processes, the whole command: with a live patch in each, and none.

Where libpulp is there, also over processes that preload it, with its tool and with ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, beside_libpulp, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.tools import Run, Ulp

GOAL = 0.25  # seconds, 500 processes
PART = 1 / 20  # of libpulp's time
RECORDED = "recorded value 5.2 s (500 processes)"


def run(plan: Plan) -> Iterator[Row]:
    """List the processes with each tool that is there."""
    missing = Row(benchmark="patches", case="live patches", tool="libpulp", recorded=RECORDED)
    yield from beside_libpulp(_measure, plan, goal=GOAL, times=PART, missing=missing)


def listed(output: str, patch: str) -> dict[int, bool]:
    """Return the processes in an output of ``ulp patches``, and whether each holds the live patch."""
    found: dict[int, bool] = {}
    for block in re.split(r"^(?=PID: )", output, flags=re.MULTILINE)[1:]:
        pid = int(block[len("PID: ") :].split(",", 1)[0])
        found[pid] = f"livepatch: {patch} " in block
    return found


@unbroken
def _measure(plan: Plan, tool: Ulp, *, goal: float | None) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    with Targets(built, count=plan.listed, environment=tool.target_environment) as targets:
        for case, expected in (("no live patch", False), ("live patches", True)):
            if expected:
                tool.apply(None, patch)
            tool.run("patches")
            runs = []
            for _ in range(plan.repeats):
                machine.wait_until_quiet(plan.patience)
                runs.append(tool.run("patches"))
            changed = targets.changed_functions()
            holders = sum(number == FUNCTIONS for number in changed)
            lists = [listed(done.output, patch.name) for done in runs]
            seen = min(sum(pid in found for pid in targets.pids) for found in lists)
            holding = min(sum(found.get(pid, False) for pid in targets.pids) for found in lists)
            right = plan.listed if expected else 0
            wrong = (
                "" if holders == holding == right else f"{holding} listed, {holders} patched, not {right}"
            )
            yield Row(
                benchmark="patches",
                case=f"{plan.listed} processes, {case}",
                tool=tool.name,
                values=tuple(done.seconds for done in runs),
                goal=goal,
                touched={"processes listed": seen, "holding a live patch": holding},
                wrong=wrong,
                note=_cpu(runs),
            )


def _cpu(runs: list[Run]) -> str:
    return f"CPU {min(done.cpu for done in runs):.3f} s"
