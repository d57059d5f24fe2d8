# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that look at one process or one file: ``check``, ``dump`` and ``messages``, each in a fresh process.

``messages`` is what libpulp in the process has noted, so it needs a target that preloads libpulp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.plan import Plan
    from tests.bench.tools import Run, Ulp

GOAL = 0.06  # seconds
RECORDED = {"check": "2.3 ms", "dump": "1.0 ms", "messages": "4.0 ms"}


def run(plan: Plan) -> Iterator[Row]:
    """Time each command with each tool that is there."""
    yield from _measure(plan, plan.ours, goal=GOAL)
    if plan.libpulp is not None:
        yield from _measure(plan, plan.libpulp, goal=None)
        yield from _measure(plan, plan.ours.preloading(plan.libpulp), goal=GOAL)
    else:
        for name, known in RECORDED.items():
            yield Row(benchmark="commands", case=name, tool="libpulp", recorded=f"recorded value {known}")


@unbroken
def _measure(plan: Plan, tool: Ulp, *, goal: float | None) -> Iterator[Row]:
    built = build(plan.directory / "pads")
    patch = tool.make_patch(built)
    with Targets(built, environment=tool.target_environment) as targets:
        pid = targets.pids[0]
        tool.apply(pid, patch)
        wrong = "" if targets.changed_functions() == [FUNCTIONS] else "the process is not patched"
        for name, words, status, expected in _cases(tool, pid, patch):
            tool.run(*words, status=status)  # brings program and container into the page cache
            runs = []
            for _ in range(plan.commands):
                machine.wait_until_quiet(plan.patience)
                runs.append(tool.run(*words, status=status))
            yield Row(
                benchmark="commands",
                case=name,
                tool=tool.name,
                values=tuple(done.seconds for done in runs),
                goal=goal,
                wrong=wrong if all(_says(done, expected) for done in runs) else f"{expected!r} is missing",
                note=f"CPU {min(done.cpu for done in runs) * 1000:.0f} ms",
            )


def _cases(tool: Ulp, pid: int, patch: Path) -> Iterator[tuple[str, tuple[str | Path, ...], int, str]]:
    """Give each command's name, words, exit status and what its output has to contain."""
    applied = 0 if tool.is_ours else 1  # what "check" ends with
    yield "check", ("check", "-p", str(pid), patch), applied, "" if tool.is_ours else "already applied"
    yield "dump", ("dump", patch), 0, "bench_answer_9"
    if tool.preload:
        yield "messages", ("messages", "-p", str(pid)), 0, "libpulp loaded"


def _says(done: Run, expected: str) -> bool:
    return expected in done.output + done.errors
