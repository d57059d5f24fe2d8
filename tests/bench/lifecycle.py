# SPDX-License-Identifier: GPL-2.0-or-later
"""``zypper lifecycle`` and the plan of a downgrade, on a system as large as a distribution; zypp's caches are there.

The rpm database is a real one. The packages of the repository exist as metadata only: nobody unpacks them.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import machine
from tests.bench.report import Row, unbroken
from tests.support import rpmmd
from tests.support.rpmmd import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.bench.plan import Plan
    from tests.bench.tools import Ulp
    from tests.support.zypp_root import ZyppRoot

GOAL = 0.3  # seconds
MEMORY = 120e6  # bytes
LIVEPATCH = "glibc-livepatches"
_INSTALLED_EVERY = 16  # one of so many available packages is installed, of 32,000 therefore 2,000
_RECORDED = "recorded value 5.0 s (32,000 packages)"
_PROBE = """\
import json, os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
end = time.perf_counter()
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), end - start, cpu, usage.ru_maxrss]), file=sys.stderr)
"""


class _Done(NamedTuple):
    seconds: float
    cpu: float  # seconds
    peak: int  # bytes of memory
    output: str


def run(plan: Plan) -> Iterator[Row]:
    """Measure on systems of growing size; the goals are those of the first."""
    for number, available in enumerate(plan.available):
        yield from _measure(plan, plan.ours, available=available, has_goal=not number)
    yield Row(benchmark="lifecycle", case="zypper lifecycle", tool="SUSE's plugin", recorded=_RECORDED)


@unbroken
def _measure(plan: Plan, tool: Ulp, *, available: int, has_goal: bool) -> Iterator[Row]:
    installed = min(available, plan.available[0]) // _INSTALLED_EVERY
    system = _system(plan.directory / f"lifecycle-{available}", installed=installed, available=available)
    size = f"{installed:,} installed, {available:,} available"
    for name, words, expected in _cases(tool, installed):
        command = [*words, "--root", str(system.root), "--json"]
        _timed(command)  # brings programs and caches into the page cache
        runs = []
        for _ in range(plan.repeats):
            machine.wait_until_quiet(plan.patience)
            runs.append(_timed(command))
        found = [_named(done.output) for done in runs]
        wrong = "" if set(found) == {expected} else f"{found} packages are named, not {expected}"
        for unit, values, goal in (
            ("s", tuple(done.seconds for done in runs), GOAL),
            ("B", tuple(float(done.peak) for done in runs), MEMORY),
        ):
            yield Row(
                benchmark="lifecycle",
                case=f"{name}, {size}",
                tool=tool.name,
                unit=unit,
                values=values,
                goal=goal if has_goal else None,
                touched={"packages named": found[0]},
                wrong=wrong,
                note=f"CPU {min(done.cpu for done in runs) * 1000:.0f} ms" if unit == "s" else "",
            )


def _system(work: Path, *, installed: int, available: int) -> ZyppRoot:
    """Make a system whose repository has so many packages, and every one that is installed in a newer version."""
    from tests.support import rpms, zypp_root
    from tests.support.installed_root import database_directory

    system = zypp_root.make(work)
    names = [LIVEPATCH, *(f"package-{number}" for number in range(1, installed))]
    packages = rpms.build_many(names, into=work / "packages", work=work / "build")
    database = str(database_directory(system.root))
    (work / "manifest").write_text("\n".join(map(str, packages)))
    command = ["rpm", "--dbpath", database, "--install", "--justdb", "--nodeps", "--nosignature"]
    subprocess.run([*command, str(work / "manifest")], check=True, capture_output=True)
    rpmmd.write(system.metadata("large"), _available(names, available))
    system.write("etc/zypp/repos.d/large.repo", "[large]\n")
    system.cache("large")
    system.cache_installed()
    return system


def _available(installed: Sequence[str], count: int) -> Iterator[Entry]:
    yield from (Entry(name=name, version="2") for name in installed)
    yield Entry(name=LIVEPATCH, version="0.5")
    for number in range(count - len(installed) - 1):
        needs = [_word(number // 2), _word(number // 3)]
        yield Entry(name=_word(number), requires=needs, provides=[f"lib{_word(number)}.so.1()(64bit)"])


def _word(number: int) -> str:
    """Return a name that differs as names do: libsolv's hash of texts takes numbers in a row badly."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:12]


def _cases(tool: Ulp, installed: int) -> Iterator[tuple[str, list[str | Path], int]]:
    """Give each command and the packages that it has to name."""
    directory = tool.command.parent
    yield "zypper lifecycle", [directory / "zypper-lifecycle"], installed
    yield "plan of a downgrade", [directory / "ulp", "downgrade", "--dry-run", LIVEPATCH], 1


def _named(output: str) -> int:
    """Return how many packages the answer gives another version of."""
    return sum(
        bool(package.get("update") or package.get("to")) for package in json.loads(output)["packages"]
    )


def _timed(command: Sequence[str | Path]) -> _Done:
    # the kernel counts to a child's peak what its parent held when it was started, so the parent is a small one
    words = [sys.executable, "-SE", "-c", _PROBE, *map(str, command)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    status, seconds, cpu, peak = json.loads(done.stderr.splitlines()[-1])
    if status:
        raise AssertionError(f"{command[0]} ended with {status}: {done.stderr}")
    return _Done(seconds, cpu, peak * 1024, done.stdout)
