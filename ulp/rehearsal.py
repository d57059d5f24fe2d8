# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether processes that do not run a fix could: a dry run of the change in each, which stops nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ulp import fleet
from ulp.coverage import Row, State
from ulp.engines import Change, Settings
from ulp.result import Reason, Result

_TIMEOUT: Final = 5.0  # seconds for a process that another ulp is at work on, or that loads libraries
_NOT_CONCERNED: Final = frozenset(
    {
        Reason.PROCESS_GONE,
        Reason.KERNEL_THREAD,
        Reason.NO_SUCH_LIBRARY,
        Reason.BUILD_ID_MISMATCH,
        Reason.STATIC_BINARY,
    }
)


def rehearse(
    rows: Sequence[Row],
    *,
    patch_process_one: bool,
    exempt: Callable[[int], str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Row, ...]:
    """Return the rows with the reasons why the fix is missing; ``exempt`` as in ulp.fleet.change.

    Rows of processes that have ended, or that run another program by now, are gone.
    """
    waiting = [row for row in rows if row.is_open]
    answers: dict[tuple[int, bytes], Result] = {}
    for container in {row.build_id: row.fix.container for row in waiting if row.fix is not None}.values():
        assert container is not None
        survey = fleet.change(
            [Change(apply=container, revert_target=True)],
            settings=Settings(dry_run=True, timeout=_TIMEOUT, patch_process_one=patch_process_one),
            pids=[row.pid for row in waiting if row.build_id == container.build_id],
            exempt=exempt,
            on_progress=on_progress,
        )
        answers.update(((result.pid, container.build_id), result) for result in survey.results)
    told = (_with(row, answers[row.pid, row.build_id]) if row.is_open else row for row in rows)
    return tuple(row for row in told if row.reason not in _NOT_CONCERNED)


def _with(row: Row, answer: Result) -> Row:
    if answer.reason is Reason.ALREADY_APPLIED:
        return replace(row, state=State.PATCHED, detail="patched while ulp was looking")
    if answer.reason is Reason.WOULD_CHANGE:
        return replace(row, reason=answer.reason)
    return replace(row, reason=answer.reason, detail=answer.sentence)
