# SPDX-License-Identifier: GPL-2.0-or-later
"""What many rows of coverage come to: covered or not, in one word, one sentence and one table."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from host.arguments import enumerate_words
from host.errors import Error, ExitStatus
from host.names import command
from host.terminal import Paint, sanitize, table
from ulp.coverage import Question, Row, State, some
from ulp.hidden import Hidden
from ulp.report import processes, remedies_for
from ulp.result import Reason

_NAMED: Final = 3  # reasons, and processes for each, in the sentence
_LISTED: Final = 8  # programs, pids or labels in a cell of the table
# the order of the table: trouble comes where a terminal shows it, at the end
_ORDER: Final = (State.OTHER_BUILD, *(state for state in State if state is not State.OTHER_BUILD))
_HEADS: Final = ("COUNT", "STATE", "LIBRARY", "LIVE PATCH AND FIXES, OR REASON", "PROCESSES")
_HEADS_EACH: Final = ("PID", "PROCESS", "STATE", "LIBRARY", "LIVE PATCH AND FIXES, OR REASON")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to a question."""

    question: Question
    rows: Sequence[Row]  # ordered by pid
    patches: int  # live patches there are
    unseen: Sequence[Hidden] = ()  # processes that this user may not look at
    problems: Sequence[Error] = ()  # containers that could not be read

    @cached_property
    def concerned(self) -> dict[int, list[Row]]:
        """The rows that count, by process."""
        found: dict[int, list[Row]] = {}
        for row in self.rows:
            if row.counts:
                found.setdefault(row.pid, []).append(row)
        return found

    @cached_property
    def covered(self) -> list[int]:
        """The processes that run the fix in all their libraries."""
        return [
            pid for pid, rows in self.concerned.items() if all(row.state is State.PATCHED for row in rows)
        ]

    @cached_property
    def stuck(self) -> list[Row]:
        """For each process that no trigger could help now: the first row that says why."""
        return [
            next(row for row in rows if _is_stuck(row))
            for rows in self.concerned.values()
            if any(_is_stuck(row) for row in rows)
        ]

    @property
    def patchable(self) -> int:
        """How many processes could be patched now."""
        return len(self.concerned) - len(self.covered) - len(self.stuck)

    @cached_property
    def others(self) -> list[Row]:
        """The rows that do not count."""
        return [row for row in self.rows if not row.counts]

    @property
    def word(self) -> str:
        """The answer in one word, for programs."""
        if len(self.covered) < len(self.concerned):
            return "not-covered"
        if self.problems or self.unseen:
            return "not-proven"
        return "covered" if self.concerned else "nothing-concerned"

    @property
    def status(self) -> ExitStatus:
        """The answer as an exit status (docs/exit-status.md)."""
        if self.word == "not-proven":
            return self.problems[0].status if self.problems else ExitStatus.NOT_PERMITTED
        return {
            "covered": ExitStatus.OK,
            "not-covered": ExitStatus.FAILED,
            "nothing-concerned": ExitStatus.NOTHING_MATCHED,
        }[self.word]

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        if not self.patches:
            return "no live patch is installed, and no process holds one"
        if not self.concerned:
            names = f" that names {self.question.label}" if self.question.label else ""
            return f"no process maps a build of a library for which there is a live patch{names}"
        number = len(self.concerned)
        runs = "runs" if number == 1 else "run"
        text = f"{len(self.covered)} of {processes(number)} {runs} {self._fix()}"
        if self.patchable:
            text += f"; {self.patchable} can be patched now"
        if self.stuck:
            text += f"; {len(self.stuck)} cannot: {_reasons(self.stuck)}"
        return text

    def _fix(self) -> str:
        if self.question.label:
            return f"the fix for {self.question.label}"
        libraries = sorted({row.fix.target for row in self.rows if row.fix is not None})
        if len(libraries) > _NAMED or not libraries:
            return "the newest live patches"
        plural = "es" if len(libraries) > 1 else ""
        return f"the newest live patch{plural} for {sanitize(' and '.join(libraries))}"

    def other_builds(self) -> str:
        """Return a sentence about the rows that do not count; empty if there are none."""
        if not self.others:
            return ""
        number = len({row.pid for row in self.others})
        libraries = sanitize(enumerate_words(sorted({row.base for row in self.others})))
        names = f" that names {self.question.label}" if self.question.label else ""
        uses = "uses" if number == 1 else "use"
        return f"{processes(number)} {uses} a build of {libraries} for which there is no live patch{names}"

    def hints(self) -> list[str]:
        """Say what to do, each thing once."""
        hints = []
        if self.patchable:
            paths = sorted(
                {
                    shlex.quote(row.fix.path)
                    for row in self.rows
                    if row.fix is not None and row.reason is Reason.WOULD_CHANGE
                }
            )
            hints.append(f"{command('ulp trigger')} --revert-all=target {sanitize(' '.join(paths))}")
        restart = "Restarting a process lets it load the library that is on disk now."
        return [*hints, *remedies_for({row.reason for row in self.stuck}, otherwise=restart)]


def grouped(rows: Sequence[Row], *, label: str, width: int | None, ink: Paint) -> str:
    """Return a table in which equal cases take one line, however many processes they are.

    ``label`` is the CVE or bug number that is asked about, if any.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (_ORDER.index(row.state), row.base)):
        groups.setdefault(_case(row, label), []).append(row)
    lines = [(str(len({row.pid for row in same})), *case, _names(same)) for case, same in groups.items()]
    return table(lines, heads=_HEADS, right=(0,), width=width, style=_style(ink, state=1))


def one_by_one(rows: Sequence[Row], *, label: str, width: int | None, ink: Paint) -> str:
    """Return a table with a line for each library of each process."""
    lines = [(str(row.pid), row.name, *_case(row, label)) for row in rows]
    return table(lines, heads=_HEADS_EACH, right=(0,), width=width, style=_style(ink, state=2))


def _case(row: Row, label: str) -> tuple[str, str, str]:
    """Return state, library, and the live patches with what they fix (only ``label``, if that is asked) or lack."""
    held = ", ".join(f"{os.path.basename(patch.container)} ({patch.engine})" for patch in row.held)
    text = row.explanation
    if row.state is State.PATCHED and row.held:
        text = label or " ".join(dict.fromkeys(label for patch in row.held for label in patch.labels))
    return row.state, row.base, ": ".join(filter(None, (held, text)))


def _names(rows: Iterable[Row]) -> str:
    """Name programs: with their number where all is well, with their pids where somebody has to look."""
    programs: dict[str, list[Row]] = {}
    for row in rows:
        programs.setdefault(row.name, []).append(row)
    return some(
        [
            _program(name, same, well=same[0].state in {State.PATCHED, State.OTHER_BUILD})
            for name, same in sorted(programs.items())
        ]
    )


def _program(name: str, rows: Sequence[Row], *, well: bool) -> str:
    if not well:
        return f"{name} (pid {some([str(row.pid) for row in rows])})"
    return name if len(rows) == 1 else f"{name} ({len(rows)})"


def _reasons(rows: Sequence[Row]) -> str:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(_short(row), []).append(sanitize(f"{row.name} {row.pid}"))
    most_first = sorted(groups.items(), key=lambda item: -len(item[1]))
    return some([f"{text} ({some(names, _NAMED)})" for text, names in most_first], _NAMED)


def _short(row: Row) -> str:
    if row.reason is not None:
        return row.reason.sentence
    if row.state is State.NO_LIVE_PATCH:
        return f"no live patch is for the deleted build of {sanitize(row.base)}"
    if row.state is State.UNKNOWN:
        return Reason.DAMAGED.sentence
    return "the live patch is not installed"


def _is_stuck(row: Row) -> bool:
    return row.state is not State.PATCHED and row.reason is not Reason.WOULD_CHANGE


def _style(ink: Paint, *, state: int) -> Callable[[int, str], str]:
    colors: dict[State, Callable[[str], str]] = {
        State.PATCHED: ink.good,
        State.OUTDATED: ink.warn,
        State.OTHER_BUILD: str,
    }

    def style(column: int, text: str) -> str:
        if column == -1:
            return ink.strong(text)
        if column != state or not text.strip():
            return text
        return next((color for word, color in colors.items() if text.strip() == word), ink.bad)(text)

    return style
