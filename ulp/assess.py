# SPDX-License-Identifier: GPL-2.0-or-later
"""The answer to a question about coverage: live patches there are, held against all processes that run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from host import procfs
from host.errors import Error, NoInputError
from host.names import command
from ulp.coverage import Judge, LivePatch, Question, Row, fixes, live_patches
from ulp.verdict import Verdict

if TYPE_CHECKING:
    from ulp.container import Container


def assess(
    question: Question,
    *,
    containers: Sequence[Container],
    problems: Sequence[Error] = (),
    named: bool = False,
    pids: Sequence[int] | None = None,
    exempt: Callable[[int], str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Verdict, tuple[LivePatch, ...]]:
    """Return how the processes stand, and the live patches there are.

    The containers, of which ``problems`` say which could not be read, are all that counts where they were ``named``;
    otherwise what processes hold counts, too. Without ``pids`` all processes are looked at; ``exempt`` and
    ``on_progress`` are those of ulp.fleet.change. Raises NoInputError when no live patch is about the question.
    """
    from ulp.holdings import applied

    chosen = pids if pids is not None else [pid for pid in procfs.pids() if pid != os.getpid()]
    holdings, unseen = applied(pids=chosen, libraries=True)
    patches = live_patches(containers, () if named else holdings)
    wanted = fixes(patches, question)
    if not wanted and (question.label or question.library):
        raise _unknown(question, named=named)
    rows: Sequence[Row] = Judge(patches, wanted, question).rows(holdings)
    if any(row.is_open for row in rows):
        from ulp.rehearsal import rehearse

        rows = rehearse(
            rows, patch_process_one=_patch_process_one(rows), exempt=exempt, on_progress=on_progress
        )
    verdict = Verdict(question=question, rows=rows, patches=len(patches), unseen=unseen, problems=problems)
    return verdict, patches


def _unknown(question: Question, *, named: bool) -> NoInputError:
    library = f" for a library called {question.library}" if question.library else ""
    names = f" names {question.label}" if question.label else " is there"
    if named:
        return NoInputError(f"among these live patches none{library}{names}")
    return NoInputError(
        f"no live patch{library}{names}, neither an installed one nor one that a process holds",
        hint=f"'{command('ulp status --json')}' lists the live patches there are and what they fix.",
    )


def _patch_process_one(rows: Sequence[Row]) -> bool:
    if not any(row.pid == 1 for row in rows):
        return False
    from host import config

    return config.load().process_one
