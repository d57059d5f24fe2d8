# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes came to, process by process: the lines that people read, the counts, and the rows of JSON."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from host.errors import ExitStatus
from host.names import command
from host.terminal import Paint, sanitize
from ulp.result import BusyCall, Outcome, Reason, Result

# What says that a process has nothing to do with a change, rather than what came of the change in it.
_NOT_CONCERNED = frozenset(
    {
        Reason.NO_SUCH_LIBRARY,
        Reason.STATIC_BINARY,
        Reason.KERNEL_THREAD,
        Reason.PROCESS_GONE,
        Reason.NOT_APPLIED,
    }
)
_NO_PROCESS = frozenset({Reason.KERNEL_THREAD, Reason.PROCESS_GONE})  # what nobody looks for in a report
_THREADS_NAMED = 8  # of the threads in one busy function


@dataclass(kw_only=True)
class Process:
    """One process and what came of the changes in it, in their order."""

    pid: int
    name: str
    results: list[Result] = field(default_factory=list)

    @property
    def concerned(self) -> list[Result]:
        """The results that are about this process rather than about it not being a target.

        Containers for several builds of one library concern a process once: where one fits, the mismatch of
        the others says nothing; where none does, the first says it for all.
        """
        kept: list[Result] = []
        fits = {library_of(result) for result in self.results if result.reason not in _MISFITS}
        for result in self.results:
            if result.reason in _NOT_CONCERNED:
                continue
            if result.reason is Reason.BUILD_ID_MISMATCH:
                if library_of(result) in fits:
                    continue
                fits.add(library_of(result))
            kept.append(result)
        return kept

    @property
    def is_one(self) -> bool:
        """Whether it is a process that somebody would look for in a report."""
        return any(result.reason not in _NO_PROCESS for result in self.results)

    @property
    def outcome(self) -> Outcome | None:
        """ERROR before SUCCESS before SKIPPED; None where the process is not concerned."""
        outcomes = {result.outcome for result in self.concerned}
        return next((o for o in (Outcome.ERROR, Outcome.SUCCESS, Outcome.SKIPPED) if o in outcomes), None)


_MISFITS = _NOT_CONCERNED | {Reason.BUILD_ID_MISMATCH}


class Counts(NamedTuple):
    """How many processes ended how, each counted once."""

    patched: int
    skipped: int
    failed: int
    not_concerned: int


def by_process(results: Iterable[Result]) -> list[Process]:
    """Gather results, which come ordered by pid, into processes."""
    return [
        Process(pid=pid, name=rows[0].name, results=rows)
        for pid, rows in ((p, list(r)) for p, r in itertools.groupby(results, key=lambda result: result.pid))
    ]


def count(processes: Sequence[Process]) -> Counts:
    """Count processes by their outcome."""
    outcomes = [process.outcome for process in processes if process.is_one]
    return Counts(
        patched=outcomes.count(Outcome.SUCCESS),
        skipped=outcomes.count(Outcome.SKIPPED),
        failed=outcomes.count(Outcome.ERROR),
        not_concerned=outcomes.count(None),
    )


def processes(number: int, kind: str = "") -> str:
    """Return ``1 process``, ``2 other processes``."""
    return f"{number} {kind}process{'es' * (number != 1)}"


def library_of(result: Result) -> str:
    """Return the basename of the target library."""
    return os.path.basename(result.library)


def lines(
    process: Process, results: Sequence[Result], *, verbose: bool, ink: Paint, summarize: bool = True
) -> Iterator[str]:
    """Yield what people read about some results of one process; ``summarize``: one result takes one line."""
    if not results:
        return
    alone = summarize and len(results) == 1
    head = f"  {sanitize(process.name)} (pid: {process.pid}):"
    if not alone:
        yield head
    for result in results:
        word, paint = {
            Outcome.SUCCESS: ("SUCCESS", ink.good),
            Outcome.SKIPPED: ("SKIPPED", ink.warn),
            Outcome.ERROR: ("FAILED", ink.bad),
        }[result.outcome]
        text = sanitize(_event(result, alone=alone))
        # libpulp colours the blanks before the word, too
        yield f"{head}{paint(f' {word}')} {text}" if alone else f"{paint(f'    {word}')} {text}"
        for note in _notes(result, verbose=verbose):
            yield f"      {sanitize(note)}"


def _event(result: Result, *, alone: bool) -> str:
    what = result.subject or result.container
    if result.reason is Reason.WOULD_CHANGE:
        taken_back = ", ".join(map(os.path.basename, result.reverted))
        return f"would {f'apply {what}' if result.container else f'revert {taken_back}'} (dry run)"
    if result.outcome is Outcome.SUCCESS:
        return what
    # a lone SKIPPED stands without what was skipped
    return result.sentence if alone and result.outcome is Outcome.SKIPPED else f"{what}: {result.sentence}"


def _notes(result: Result, *, verbose: bool) -> Iterator[str]:
    changed = result.outcome is Outcome.SUCCESS
    if changed or len(result.busy) > 1:  # the sentence of an error names the first
        yield from busy_calls(result.busy, changed=changed)
    if not verbose:
        return
    if result.pause is not None:
        threads = f"{result.threads} thread{'s' * (result.threads != 1)}"
        worst = f", one that ran for {_micro(result.longest_pause)}" if result.longest_pause else ""
        yield f"stood still for {_micro(result.pause)} microseconds with {threads}{worst}"
    if result.reverted:
        yield f"reverted: {', '.join(map(os.path.basename, result.reverted))}"
    if result.library and result.outcome is not Outcome.SKIPPED:
        yield f"library: {result.library}"
    if result.functions:
        yield f"functions: {', '.join(result.functions)}"


def _micro(seconds: float) -> int:
    return round(seconds * 1e6)


def busy_calls(calls: Iterable[BusyCall], *, changed: bool) -> Iterator[str]:
    """Yield a sentence for each function that calls are inside of: still the old one, if it was changed."""
    threads: dict[str, list[int]] = {}
    for call in calls:
        threads.setdefault(call.function, []).append(call.thread)
    for function, inside in sorted(threads.items()):
        one = len(inside) == 1
        subject = f"{len(inside)} call{'' if one else 's'} {'is' if one else 'are'}"
        where = (
            f"still inside the old {function} and finish{'es' if one else ''} there"
            if changed
            else f"inside {function}"
        )
        named = ", ".join(map(str, sorted(inside)[:_THREADS_NAMED]))
        more = f" and {len(inside) - _THREADS_NAMED} more" if len(inside) > _THREADS_NAMED else ""
        yield f"{subject} {where} (thread{'' if one else 's'} {named}{more})"


def row(result: Result) -> dict[str, object]:
    """Return the result as JSON has it (docs/json.md); times are seconds."""
    return {
        "pid": result.pid,
        "name": result.name,
        "outcome": result.outcome.value,
        "reason": result.reason.value,
        "detail": result.sentence,
        "container": result.container,
        "library": result.library,
        "reverted": list(result.reverted),
        "functions": list(result.functions),
        "pause": result.pause,
        "longest_pause": result.longest_pause,
        "threads": result.threads,
        "busy": [{"function": call.function, "thread": call.thread} for call in result.busy],
        "engine": result.engine,
    }


def exit_status(*, done: bool, failures: Collection[Reason]) -> ExitStatus:
    """Return how a command ends that was ``done`` with some processes, and failed with others for these reasons."""
    if not failures:
        return ExitStatus.OK
    if done:
        return ExitStatus.PARTLY
    alone = {Reason.NOT_PERMITTED: ExitStatus.NOT_PERMITTED, Reason.INTERNAL: ExitStatus.INTERNAL}
    return next((alone[each] for each in alone if {each} == set(failures)), ExitStatus.FAILED)


def is_failure(reason: Reason) -> bool:
    """Say whether a process should have been changed and was not, be it left out by its user's wish."""
    return reason.outcome is Outcome.ERROR or reason is Reason.DISABLED


REMEDIES = {  # {ulp} is what a user types for it
    Reason.STACK_BUSY: "Try again later, with -r N or a longer --timeout; "
    "--consistency=default lets a call finish in the old code.",
    Reason.LOADING: "-r N tries up to N times while the process loads libraries.",
    Reason.ALREADY_TRACED: "Detach the debugger or tracer and try again.",
    Reason.NOT_PERMITTED: "Try again as root.",
    Reason.NO_DESCRIPTOR: "Raise its limit and try again: prlimit --pid PID --nofile=SOFT:HARD.",
    Reason.SECCOMP: "--disable-seccomp suspends the filter for the change; it needs CAP_SYS_ADMIN.",
    Reason.LOCKED: "Try again when the other ulp has finished, or give it more time with --timeout.",
    Reason.OUT_OF_ORDER: "Revert the later live patch first, or all of them with --revert-all.",
    Reason.PROCESS_ONE: "With process-one = yes under [patch] in /etc/zypp-livepatch.conf process 1 is patched, too.",
    Reason.EXCLUDED: "Files in /etc/zypp-livepatch/exclude.d leave processes out of what is automatic; "
    "'{ulp} trigger' patches them.",
    Reason.DISABLED: "'{ulp} set_patchable -p PID enable' lets the process take live patches again.",
    Reason.NOT_RUNNING: "Let the process run (thaw its control group) and try again.",
}


def remedies_for(reasons: Collection[Reason | None], *, otherwise: str) -> list[str]:
    """Return what to do for these reasons, each once; ``otherwise`` is for those that nothing special helps."""
    ulp = command("ulp")
    known = [remedy.format(ulp=ulp) for reason, remedy in REMEDIES.items() if reason in reasons]
    return [*known, otherwise] if set(reasons) - REMEDIES.keys() else known


def remedies(results: Iterable[Result]) -> list[str]:
    """Return what to do about the failures among the results, each once."""
    reasons = {result.reason for result in results if is_failure(result.reason)}
    return remedies_for(
        reasons,
        otherwise="A process that cannot be changed is as it was; restarting it loads the library from disk.",
    )
