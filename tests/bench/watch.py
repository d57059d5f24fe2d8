# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp watch``: how soon a program that starts is patched, and what a storm of short processes costs.

The watcher runs in the sandbox root of the tests, where zypper has installed a live patch; the processes run outside.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, human, unbroken
from tests.bench.target import FUNCTIONS, Targets, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.target import Build
    from tests.bench.tools import Ulp
    from tests.support.watching import Watch

GOAL = 0.05  # seconds
SHARE = 5.0  # percent of one processor
PACKAGE = "bench-livepatches"
_LONGEST = 600.0  # seconds that all takes at most
_ATTENTION = 3.0  # seconds; a watcher looks at a process for two of them
_BETWEEN = 0.005  # seconds between two questions


def run(plan: Plan) -> Iterator[Row]:
    """Measure with one watcher; say why where there can be none."""
    from tests.support.watching import untold

    if why := untold():
        yield Row(benchmark="watch", case="ulp watch", tool=plan.ours.name, note=why)
    else:
        yield from _measure(plan, plan.ours)


@unbroken
def _measure(plan: Plan, tool: Ulp) -> Iterator[Row]:
    from tests.support import rpms
    from tests.support.sandbox import sandbox
    from tests.support.watching import watching

    built = build(plan.directory / "watch")
    with sandbox() as root:
        root.add_packages(rpms.livepatch_spec(PACKAGE, [tool.make_patch(built)], version="1"))
        root.zypper("install", PACKAGE)
        with watching(root, longest=_LONGEST) as watch:
            yield _starts(plan, tool, built, watch)
            yield _survivors(plan, tool, built, watch)
            yield _storms(plan, tool, watch)


def _starts(plan: Plan, tool: Ulp, built: Build, watch: Watch) -> Row:
    """Start programs one after the other: from the kernel's time of the exec to the end of the patch."""
    delays, outside, right = [], [], 0
    for _ in range(plan.starts):
        machine.wait_until_quiet(plan.patience)
        start = time.perf_counter()
        with Targets(built) as targets:
            delays.append(watch.until("patched", pid=targets.pids[0])["delay"])
            outside.append(time.perf_counter() - start)
            right += targets.changed_functions() == [FUNCTIONS]
    return Row(
        benchmark="watch",
        case="from a program's start to its live patch",
        tool=tool.name,
        values=tuple(delays),
        goal=GOAL,
        touched={"processes": right},
        wrong="" if right == plan.starts else f"{right} of {plan.starts} processes give the new answer",
        note=f"with its fork and the watcher's word {human(sorted(outside)[len(outside) // 2], 's')}",
    )


def _survivors(plan: Plan, tool: Ulp, built: Build, watch: Watch) -> Row:
    """Start programs in the midst of a storm, one after the other, that live until they are patched or missed."""
    delays: list[float] = []
    missed, later = 0, 0
    machine.wait_until_quiet(plan.patience)
    with _storm(plan) as storm:
        while not (delays or missed) or storm.poll() is None:
            with Targets(built) as targets:
                if _changes(targets, within=plan.life):
                    # also empties the pipe: a watcher that cannot say what it did would stand still
                    delays.append(watch.until("patched", pid=targets.pids[0])["delay"])
                else:
                    missed += 1
                    later += _changes(targets, within=_ATTENTION)
    return Row(
        benchmark="watch",
        case="the same in the midst of a storm",
        tool=tool.name,
        values=tuple(delays),
        touched={"processes": len(delays), "missed": missed, "of them patched later": later},
        wrong=f"{missed} processes lived for {human(plan.life, 's')} and were missed" if missed else "",
    )


def _changes(targets: Targets, *, within: float) -> bool:
    """Ask a process again and again; whether it gives the new answer before so many seconds are over."""
    end = time.monotonic() + within
    while targets.changed_functions() != [FUNCTIONS]:
        if time.monotonic() > end:
            return False
        time.sleep(_BETWEEN)
    return True


def _storms(plan: Plan, tool: Ulp, watch: Watch) -> Row:
    """Let short processes come and go, with nobody among them to be patched."""
    shares, durations, statuses = [], [], set()
    for _ in range(plan.storms):
        machine.wait_until_quiet(plan.patience)
        used, start = watch.seconds(), time.perf_counter()
        with _storm(plan) as storm:
            statuses.add(storm.wait())
        durations.append(time.perf_counter() - start)
        shares.append(100 * (watch.seconds() - used) / durations[-1])
    return Row(
        benchmark="watch",
        case=f"processor time in a storm of {plan.stormed:,} short processes",
        tool=tool.name,
        unit="%",
        values=tuple(shares),
        goal=SHARE,
        wrong="" if statuses == {0} else f"storms ended with {sorted(statuses)}",
        note=f"a storm lasts {human(sorted(durations)[len(durations) // 2], 's')}",
    )


def _storm(plan: Plan) -> subprocess.Popen[bytes]:
    """Let one process after the other start and end."""
    loop = f"i=0; while [ $i -lt {plan.stormed} ]; do /bin/true; i=$((i+1)); done"
    return subprocess.Popen(["sh", "-c", loop], stdin=subprocess.DEVNULL)
