# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of engines become rows of a report, and a report becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ulp.result import Outcome, Reason, Result
from zypp_plugin.report import KernelRow, PackageRow, ProcessRow, Report, State, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

# A process that these are said of does not use the library, or is none any more.
_NOT_CONCERNED = {
    Reason.NO_SUCH_LIBRARY,
    Reason.STATIC_BINARY,
    Reason.KERNEL_THREAD,
    Reason.PROCESS_GONE,
    Reason.NOT_APPLIED,
}
_NAMED = 3  # processes in the sentence


def fold(results: Iterable[Result], *, targets: Mapping[str, str]) -> tuple[ProcessRow, ...]:
    """Return one row for each process and library; ``targets`` are the libraries of the containers, by path.

    A package has a container for each build of its library, and a process uses one of them: that is the one
    that counts. Where none fits, the row says that this build has no live patch.
    """
    groups: dict[tuple[int, str], list[Result]] = {}
    for result in results:
        if result.reason not in _NOT_CONCERNED:
            groups.setdefault((result.pid, targets.get(result.container, "")), []).append(result)
    return tuple(_row(group, library) for (_, library), group in groups.items())


def _row(group: Sequence[Result], library: str) -> ProcessRow:
    best = min(group, key=_rank)
    sentence = best.sentence
    if best.reason is Reason.BUILD_ID_MISMATCH and len(group) > 1:
        sentence = f"none of {len(group)} live patches is for the build of {library} that is loaded"
    return ProcessRow(
        pid=best.pid,
        name=best.name,
        library=best.library or library,
        outcome=best.outcome,
        reason=best.reason,
        sentence=sentence,
        container=best.container,
        reverted=best.reverted,
        pause=best.pause,
        threads=best.threads,
        busy=tuple(f"{call.function} ({call.thread})" for call in best.busy),
        engine=best.engine,
    )


def _rank(result: Result) -> int:
    if is_fixed(result.outcome, result.reason):
        return 0
    if result.outcome is Outcome.ERROR:
        return 1
    return 3 if result.reason is Reason.BUILD_ID_MISMATCH else 2


def is_fixed(outcome: str, reason: str) -> bool:
    """Tell whether a process with this result runs the fixed functions."""
    return outcome == Outcome.SUCCESS or reason == Reason.ALREADY_APPLIED


def split(rows: Iterable[ProcessRow]) -> tuple[list[ProcessRow], list[ProcessRow], list[ProcessRow]]:
    """Return one row for each process: those that run the fixed functions, that cannot, that are left out.

    A process that uses several libraries is fixed when all of them are.
    """
    worst: dict[int, tuple[int, ProcessRow]] = {}
    for row in rows:
        rank = 0 if is_fixed(row.outcome, row.reason) else 2 if row.outcome == Outcome.ERROR else 1
        if row.pid not in worst or worst[row.pid][0] < rank:
            worst[row.pid] = (rank, row)
    fixed, left_out, failed = (
        [row for rank, row in worst.values() if rank == wanted] for wanted in (0, 1, 2)
    )
    return fixed, failed, left_out


def summarize(report: Report) -> tuple[str, str]:
    """Return the report in one sentence, and its mood: ``good``, ``partly`` or ``bad``."""
    if report.state is State.FAILED:
        problem = _uncapitalized(report.problems[0].rstrip(".")) if report.problems else "no reason is known"
        return f"{'not finished' if report.processes else 'no process was patched'}: {problem}", "bad"
    parts: list[str] = []
    moods = ["good"]
    for package in report.packages:
        part, mood = _package_part(package)
        parts += [part] if part else []
        moods.append(mood)
    if any(row.use is Use.APPLIED for package in report.packages for row in package.containers):
        part, mood = _process_part(report)
        parts.insert(0, part)
        moods.append(mood)
    for row in report.kernel:
        part, mood = _kernel_part(row)
        parts.append(part)
        moods.append(mood)
    if report.problems:
        parts += [_uncapitalized(report.problems[0].rstrip("."))]
        moods.append("partly")
    worst = max(moods, key=("good", "partly", "bad").index)
    return "; ".join(dict.fromkeys(parts)) or "nothing was to be done", worst


def _process_part(report: Report) -> tuple[str, str]:
    fixed, failed, left_out = split(report.processes)
    total = len(fixed) + len(failed) + len(left_out)
    applied = (row for package in report.packages for row in package.containers if row.use is Use.APPLIED)
    libraries = " or ".join(dict.fromkeys(row.target for row in applied))
    if total == 0:
        if report.finished is None and report.state is not State.SETTLING:
            return "no process has been patched yet", "partly"
        return f"no running process uses {libraries}", "good"
    run = "runs" if total == 1 else "run"
    if len(fixed) == total:
        every = {1: "the only process that uses", 2: "both processes that use"}.get(
            total, f"all {total} processes that use"
        )
        return f"{every} {libraries} {run} the fixed functions", "good"
    uses = "process that uses" if total == 1 else "processes that use"
    text = f"{len(fixed)} of {total} {uses} {libraries} {run} the fixed functions"
    if failed:
        text += f"; {len(failed)} cannot: {_name_some(failed)}"
    if report.unseen:
        text += f"; {report.unseen} more could not be looked at"
    if left_out:
        text += f"; {len(left_out)} left out: {_name_some(left_out)}"
    return text, "bad" if failed else "partly"


def _name_some(rows: Sequence[ProcessRow]) -> str:
    named = [f"{row.name} ({row.pid}): {row.sentence}" for row in rows[:_NAMED]]
    return ", ".join(named) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")


def _package_part(package: PackageRow) -> tuple[str, str]:
    refused = [row for row in package.containers if row.use is Use.REFUSED]
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        return (
            f"{package.name} {package.evr} has a container that is not applied: {refused[0].why}{more}",
            "bad",
        )
    if package.notes and not any(row.use is Use.APPLIED for row in package.containers):
        mood = {"failed": "bad", "removed": "good"}.get(package.action, "partly")
        return package.notes[0].rstrip("."), mood
    return "", "good"


def _kernel_part(row: KernelRow) -> tuple[str, str]:
    good = row.state in ("in-effect", "left-out", "other-kernel", "removed")
    return row.sentence, "good" if good else "partly"


def _uncapitalized(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
