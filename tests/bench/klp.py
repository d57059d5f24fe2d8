# SPDX-License-Identifier: GPL-2.0-or-later
"""``klp``: what scripts call all day beside plain Python's start, and what reads many tasks or a large rpm database.

The kernels of build machines have no live patches: the tasks and live patches are a tree in memory, as kernels show
them. What is compared is the same reading in C: ``cat`` of the same files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row
from tests.bench.tools import run as run_command
from tests.support import rpms
from tests.support.installed_root import database_directory
from tests.support.kernel_tree import write_module, write_patch, write_task
from tests.support.klp import CHANGELOG, NAME, RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.plan import Plan
    from tests.bench.tools import Run

GOAL = 0.15  # seconds
_TIMES_PYTHON = 2
_IN_MEMORY = Path("/dev/shm")  # as /proc and /sys are


def run(plan: Plan) -> Iterator[Row]:
    """Time every command and what it is compared with."""
    klp = str(plan.ours.command.with_name("klp"))
    yield from _start(plan, klp)
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as name:
        yield from _blocking(plan, klp, Path(name))
    yield from _patches(plan, klp, plan.directory / "system")


def _start(plan: Plan, klp: str) -> Iterator[Row]:
    python = [sys.executable, "-c", "pass"]
    cases = {"python -c pass": python, "klp status": [klp, "status"], "klp check": [klp, "check"]}
    timed = _timed(plan, *cases.values())
    floor = Row(benchmark="klp", case="python -c pass", tool="python", values=_seconds(timed[0]))
    yield floor
    for case, runs in zip(list(cases)[1:], timed[1:], strict=True):
        says = "ready\n" if case == "klp status" else ""
        yield _ours(
            case,
            runs,
            goal=_TIMES_PYTHON * (floor.median or 0),
            right=says.__eq__,
            wrong=f"it does not say {says!r}",
            note=_ratio(_seconds(runs), _seconds(timed[0]), "python -c pass"),
        )


def _blocking(plan: Plan, klp: str, root: Path) -> Iterator[Row]:
    write_patch(root, "livepatch_1", transition=1)
    states = [write_task(root, pid, state=int(pid != 7)) / "patch_state" for pid in range(1, plan.tasks + 1)]
    blocking, cat = _timed(plan, [klp, "blocking", "--root", str(root)], ["cat", *map(str, states)])
    yield _ours(
        f"klp blocking, {plan.tasks} tasks",
        blocking,
        right="7 7\n".__eq__,
        wrong="it does not find the one that blocks",
        note=_ratio(_seconds(blocking), _seconds(cat), "cat"),
    )
    yield Row(benchmark="klp", case=f"cat, {plan.tasks} files", tool="cat", values=_seconds(cat))


def _patches(plan: Plan, klp: str, root: Path) -> Iterator[Row]:
    _install(plan, root)
    write_patch(root, "livepatch_2_150600_2_1")
    [runs] = _timed(plan, [klp, "-v", "patches", "--root", str(root)])
    expected = "    CVE: CVE-2024-53042 CVE-2024-50115\n"
    case = f"klp -v patches, {plan.packages} packages"
    yield _ours(case, runs, right=lambda output: expected in output, wrong="the CVEs are missing")


def _install(plan: Plan, root: Path) -> None:
    """Fill an rpm database: one live patch, and the packages of a system."""
    path = write_module(root, RELEASE, "livepatch-2-150600_2_1.ko")
    files = {path: root / path[1:]}
    spec = rpms.Spec(name=NAME, version="2", release="150600.2.1", files=files, changelog=CHANGELOG)
    built, work = plan.directory / "packages", plan.directory / "build"
    names = [f"package-{number}" for number in range(1, plan.packages)]
    packages = [*rpms.build([spec], into=built, work=work), *rpms.build_many(names, into=built, work=work)]
    manifest = plan.directory / "manifest"
    manifest.write_text("\n".join(map(str, packages)))
    database = database_directory(root)
    database.mkdir(parents=True)
    command = ["rpm", "--dbpath", str(database), "--install", "--justdb", "--nodeps", "--nosignature"]
    subprocess.run([*command, str(manifest)], check=True, capture_output=True)


def _ours(
    case: str,
    runs: Sequence[Run],
    *,
    right: Callable[[str], object],
    wrong: str,
    goal: float = GOAL,
    note: str = "",
) -> Row:
    """Return the row of runs of ours; ``right`` says of what they print whether it is, ``wrong`` what is missing."""
    return Row(
        benchmark="klp",
        case=case,
        tool="ulp",
        values=_seconds(runs),
        goal=goal,
        wrong="" if all(right(each.output) for each in runs) else wrong,
        note=note,
    )


def _timed(plan: Plan, *commands: Sequence[str]) -> list[list[Run]]:
    """Run commands in turns, so that a slow moment hits all of them."""
    environment = plan.ours.own_environment
    for command in commands:  # brings programs and files into the page cache
        run_command(command, environment=environment)
    runs: list[list[Run]] = [[] for _ in commands]
    for _ in range(plan.commands):
        for command, done in zip(commands, runs, strict=True):
            machine.wait_until_quiet(plan.patience)
            done.append(run_command(command, environment=environment))
    return runs


def _seconds(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(each.seconds for each in runs)


def _ratio(values: Sequence[float], floor: Sequence[float], what: str) -> str:
    return f"{min(values) / min(floor):.1f} times {what} (of the shortest runs)"
