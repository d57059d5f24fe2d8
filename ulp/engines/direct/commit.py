# SPDX-License-Identifier: GPL-2.0-or-later
"""The change itself: which bytes become what, written while everything stands, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from ulp.engines.direct import record as records
from ulp.engines.direct.record import Diversion, Journal, Mark, Record, State, Write
from ulp.memory import Memory, Unreadable, Unwritable
from ulp.process import Loading
from ulp.result import Reason, Refusal
from ulp.standstill.stop import Momentary


class Transaction(NamedTuple):
    """What changes together: a journal, and the record that keeps it meanwhile."""

    anchor: int
    journal: Journal
    before: tuple[Mark, ...]  # the states of all records that the journal marks, as they are now


def plan(
    memory: Memory,
    *,
    active: Sequence[Record],
    revert: Iterable[Record],
    apply: Iterable[Diversion],
    anchor: int,
    anchor_state: State,
) -> Transaction:
    """Compute a transaction: reverts newest first, then the new diversions.

    Raises Refusal (out-of-order, or bytes that somebody else has changed), and Loading.
    """
    start: dict[int, bytes] = {}  # what is in memory now
    text: dict[int, bytes] = {}  # what would be there
    about: dict[int, Diversion] = {}

    def look(item: Diversion) -> bytes:
        if item.address not in text:
            try:
                start[item.address] = text[item.address] = memory.read(item.address, len(item.before))
            except Unreadable as error:  # its library was unloaded meanwhile
                raise Loading from error
        about[item.address] = item
        return text[item.address]

    applied = tuple(apply)
    reverted = sorted(revert, key=lambda record: record.sequence, reverse=True)
    for record in reverted:
        for item in record.description.diversions:
            if look(item) != item.after:
                raise _out_of_order(record, item, active)
            text[item.address] = item.before
    for item in applied:
        if look(item) != item.before:
            raise Refusal(Reason.FUNCTION_NOT_PATCHABLE, f"another tool has changed {item.name}")
        text[item.address] = item.after
    writes = tuple(
        Write(
            address=address,
            before=start[address],
            after=text[address],
            entry=about[address].entry,
            pad=about[address].pad,
            function=about[address].name,
        )
        for address in sorted(text)
        if text[address] != start[address]
    )
    marks = tuple(Mark(record=record.address, state=State.INACTIVE) for record in reverted)
    before = tuple(Mark(record=record.address, state=record.state) for record in reverted)
    if applied:  # the anchor is the new block; else it is one of those that are reverted
        marks = (*marks, Mark(record=anchor, state=State.ACTIVE))
        before = (*before, Mark(record=anchor, state=anchor_state))
    return Transaction(anchor=anchor, journal=Journal(writes=writes, marks=marks), before=before)


def _out_of_order(record: Record, item: Diversion, active: Sequence[Record]) -> Refusal:
    above = [
        other.description.container
        for other in active
        if other.sequence > record.sequence
        and any(diversion.address == item.address for diversion in other.description.diversions)
    ]
    if above:
        return Refusal(Reason.OUT_OF_ORDER, f"{above[-1]} stands on its {item.name}: revert that one first")
    return Refusal(
        Reason.FUNCTION_NOT_PATCHABLE, f"another tool has changed {item.name} since it was patched"
    )


def prepare_pages(memory: Memory, transaction: Transaction) -> None:
    """Give the process its own copies of the pages of records that will change, while it runs; raises Unwritable.

    Not of its code: by the time that bytes are written there, another library may lie in that place.
    """
    for mark in transaction.before:
        records.write_state(memory, mark.record, mark.state)


def carry_out(memory: Memory, transaction: Transaction) -> None:
    """Change the bytes; everything has to stand. Raises Refusal and Momentary with everything as it was."""
    journal = transaction.journal
    for write in journal.writes:
        if memory.read_some(write.address, len(write.before)) != write.before:
            what = f"another tool has just changed {write.function}, or it was unloaded"
            raise Momentary(Reason.FUNCTION_NOT_PATCHABLE, what)
    try:
        records.write_state(memory, transaction.anchor, State.CHANGING)
        _do(memory, journal, anchor=transaction.anchor)
    except Unwritable as error:
        _take_back(memory, transaction)
        raise Refusal(Reason.MEMORY_SEALED, f"the kernel refuses to write ({error})") from error


def _take_back(memory: Memory, transaction: Transaction) -> None:
    """Put everything back; where the kernel refuses that too, the state stays CHANGING for a later command."""
    for write in reversed(transaction.journal.writes):
        # what the kernel refuses to write is most likely what it has refused to change
        with suppress(Unwritable):
            memory.write(write.address, write.before)
    if all(_now(memory, write) == write.before for write in transaction.journal.writes):
        for mark in transaction.before:
            with suppress(Unwritable):
                records.write_state(memory, mark.record, mark.state)


def finish(memory: Memory, record: Record, journal: Journal) -> None:
    """Finish what a killed tool began; everything has to stand.

    Raises Refusal (damaged) and changes nothing then, or Refusal (memory-sealed) with the state still CHANGING.
    """
    for write in journal.writes:
        now = _now(memory, write)
        if now not in {write.before, write.after} and not _is_torn(now, write):
            raise Refusal(Reason.DAMAGED, f"{write.function} holds bytes that no live patch has put there")
    try:
        _do(memory, journal, anchor=record.address)
    except Unwritable as error:
        raise Refusal(Reason.MEMORY_SEALED, f"the kernel refuses to write ({error})") from error


def _do(memory: Memory, journal: Journal, *, anchor: int) -> None:
    for write in journal.writes:
        memory.write(write.address, write.after)
    # the anchor's own state ends the transaction, so it comes last
    for mark in sorted(journal.marks, key=lambda mark: mark.record == anchor):
        records.write_state(memory, mark.record, mark.state)


def _now(memory: Memory, write: Write) -> bytes:
    try:
        return memory.read(write.address, len(write.before))
    except Unreadable as error:
        raise Refusal(Reason.DAMAGED, f"{write.function} is not mapped any more") from error


def _is_torn(now: bytes, write: Write) -> bool:
    """Say whether bytes are a write that crosses a page and was cut there, on its way there or back."""
    split = -write.address % records.PAGE
    return 0 < split < len(now) and now in {
        write.after[:split] + write.before[split:],
        write.before[:split] + write.after[split:],
    }
