# SPDX-License-Identifier: GPL-2.0-or-later
"""Finishes what a killed tool has left in a process: a change in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ulp.arch.x86_64_detour import inside
from ulp.engines.direct import commit
from ulp.engines.direct import record as records
from ulp.engines.direct.record import Journal, Record, State
from ulp.process import Process
from ulp.result import Damaged
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import while_standing
from ulp.standstill.tracing import run_tracing

_MOST_PLACES: Final = (
    256  # areas of 16 MiB that the functions of a change lie in; each is looked for on every stack
)


def interrupted(records: Sequence[Record]) -> list[Record]:
    """Return the records whose change a tool did not finish."""
    return [record for record in records if record.state is State.CHANGING]


def finish_all(process: Process) -> bool:
    """Carry out what was interrupted in a process; says whether there was anything.

    Raises Refusal, Momentary and Damaged.
    """
    found = interrupted(records.read_all(process.memory, process.mappings))
    for record in found:
        _finish(process, record)
    return bool(found)


def _finish(process: Process, record: Record) -> None:
    """Carry an interrupted change out to its end; raises Refusal, Momentary and Damaged."""
    journal = record.journal or Journal(writes=(), marks=())
    if len({write.entry >> 24 for write in journal.writes}) > _MOST_PLACES:
        raise Damaged("its functions lie all over the memory")
    watch = Watch(
        process,
        ranges=Ranges((write.entry, 1, write.function) for write in journal.writes),
        inside=[address for write in journal.writes for address in inside(write.entry, pad=write.pad)],
    )
    run_tracing(
        lambda: while_standing(
            process.pid, look=watch.look, act=lambda: commit.finish(process.memory, record, journal)
        )
    )
