# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of many places as one: planned in any order, refused by the kernel or killed anywhere, finished later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.memory import FakeMemory
from ulp.engines.direct import commit
from ulp.engines.direct import record as records
from ulp.engines.direct.commit import Transaction
from ulp.engines.direct.record import PAGE, Description, Diversion, Record, State
from ulp.memory import Unwritable
from ulp.process import Loading
from ulp.result import Reason, Refusal
from ulp.standstill.stop import Momentary

CODE = 0x5000_0000
RECORDS = 0x6000_0000
ROOM = 12 * PAGE  # of one record
ORIGINAL = bytes(range(1, 6))
# the places of five functions; the third one's bytes lie on two pages
PLACES = (CODE + 16, CODE + 64, CODE + PAGE - 2, CODE + PAGE + 64, CODE + 2 * PAGE - 5)


class Killed(Exception):
    """The tool was killed."""


def detour(patch: int, place: int) -> bytes:
    """The bytes by which a patch changes a place."""
    return bytes([0xE9, patch, place & 0xFF, place >> 8 & 0xFF, 0x77])


@dataclass
class Patched:
    """A process with live patches, and what must be in its memory."""

    memory: FakeMemory = field(
        default_factory=lambda: FakeMemory({CODE: bytes(2 * PAGE), RECORDS: bytes(ROOM * 12)})
    )
    records: list[int] = field(default_factory=list)
    model: dict[int, list[int]] = field(default_factory=lambda: {place: [] for place in PLACES})

    def __post_init__(self) -> None:
        for place in PLACES:
            self.memory.write(place, ORIGINAL)

    def found(self) -> list[Record]:
        read = (records.read(self.memory, address, ROOM) for address in self.records)
        return sorted((record for record in read if record is not None), key=lambda record: record.sequence)

    def active(self) -> list[Record]:
        return [record for record in self.found() if record.state is State.ACTIVE]

    def bytes_of(self, place: int, stack: Sequence[int]) -> bytes:
        return detour(stack[-1], place) if stack else ORIGINAL

    def new_record(self, places: Sequence[int], below: dict[int, list[int]]) -> tuple[int, Description]:
        """A prepared block for a patch of these places, on what is ``below`` when it is applied."""
        number = len(self.records)
        address = RECORDS + number * ROOM
        description = Description(
            patch_id=bytes([number]) * 32, container=f"/livepatch{number}.so", library="/lib.so",
            target_name="lib.so", build_id=b"id", labels=(), time=1.0, bias=0, end=0,
            diversions=tuple(
                Diversion(
                    name=f"function_{PLACES.index(place)}", function=place, new=0, address=place, entry=place,
                    pad=False, before=self.bytes_of(place, below[place]), after=detour(number, place),
                )
                for place in places
            ),
        )  # fmt: skip
        records.write(self.memory, address, description, sequence=number + 1)
        self.records.append(address)
        return address, description

    def transaction(self, *, revert: Sequence[int], apply: Sequence[int] | None) -> Transaction:
        """Plan one change and put its journal where it belongs. ``revert`` are numbers of patches."""
        active = self.active()
        reverted = [record for record in active if self.records.index(record.address) in revert]
        below = {place: [n for n in stack if n not in revert] for place, stack in self.model.items()}
        anchor, description = (0, None) if apply is None else self.new_record(apply, below)
        transaction = commit.plan(
            self.memory,
            active=active,
            revert=reverted,
            apply=description.diversions if description is not None else (),
            anchor=anchor or reverted[-1].address,
            anchor_state=State.PREPARED,
        )
        records.write_journal(self.memory, transaction.anchor, ROOM, transaction.journal)
        return transaction

    def note(self, *, revert: Sequence[int], apply: Sequence[int] | None) -> None:
        """Let the model follow a change that was made."""
        for place, stack in self.model.items():
            stack[:] = [number for number in stack if number not in revert]
            if apply is not None and place in apply:
                stack.append(len(self.records) - 1)

    def check(self) -> None:
        """Check memory and states against the model."""
        for place, stack in self.model.items():
            assert self.memory.read(place, 5) == self.bytes_of(place, stack), hex(place)
        wanted = {number for stack in self.model.values() for number in stack}
        assert {self.records.index(record.address) for record in self.active()} == wanted
        assert not [record for record in self.found() if record.state is State.CHANGING]

    def is_in_order(self, revert: Sequence[int]) -> bool:
        """Whether on each place the patches to be reverted are the newest ones."""
        return all(
            not any(above not in revert for above in stack[index:])
            for stack in self.model.values()
            for index, number in enumerate(stack)
            if number in revert
        )


_steps = st.lists(
    st.tuples(
        st.sets(st.integers(0, 7), max_size=3),
        st.one_of(st.none(), st.sets(st.sampled_from(PLACES), min_size=1).map(sorted)),
    ),
    max_size=8,
)


@given(_steps)
def test_patches_stack_and_come_off_in_order_only(steps: list[tuple[set[int], list[int] | None]]) -> None:
    world = Patched()
    for wanted, apply in steps:
        present = {number for stack in world.model.values() for number in stack}
        revert = sorted(wanted & present)
        if not revert and apply is None:
            continue
        code = world.memory.read(CODE, 2 * PAGE)
        try:
            transaction = world.transaction(revert=revert, apply=apply)
        except Refusal as refusal:
            assert refusal.reason is Reason.OUT_OF_ORDER and not world.is_in_order(revert)
            assert world.memory.read(CODE, 2 * PAGE) == code
            if apply is not None:
                world.records.pop()
        else:
            assert world.is_in_order(revert)
            commit.prepare_pages(world.memory, transaction)
            assert world.memory.read(CODE, 2 * PAGE) == code
            commit.carry_out(world.memory, transaction)
            world.note(revert=revert, apply=apply)
        world.check()


def stacked() -> tuple[Patched, list[int], list[int]]:
    """Three patches on each other; what is to be reverted (the upper two), and the places to be patched anew."""
    world = Patched()
    for places in (PLACES[:3], PLACES[1:4], (PLACES[0], PLACES[2])):
        transaction = world.transaction(revert=(), apply=places)
        commit.carry_out(world.memory, transaction)
        world.note(revert=(), apply=places)
    world.check()
    return world, [1, 2], [PLACES[1], PLACES[2], PLACES[4]]


CHANGES: dict[str, tuple[list[int], list[int] | None]] = {
    "apply": ([], [PLACES[1], PLACES[2], PLACES[4]]),
    "revert": ([1, 2], None),
    "replace": ([1, 2], [PLACES[1], PLACES[2], PLACES[4]]),
}


def count_writes(change: str) -> int:
    world, *_ = stacked()
    revert, apply = CHANGES[change]
    transaction = world.transaction(revert=revert, apply=apply)
    before = world.memory.writes
    commit.carry_out(world.memory, transaction)
    return world.memory.writes - before


def every_fault(change: str) -> list[tuple[int, int]]:
    """(number of the write, bytes of it that are done): each write not at all, and those on two pages by half."""
    world, *_ = stacked()
    revert, apply = CHANGES[change]
    transaction = world.transaction(revert=revert, apply=apply)
    faults: list[tuple[int, int]] = []

    def note(address: int, data: bytes) -> None:
        split = -address % PAGE
        faults.append((number[0], 0))
        if 0 < split < len(data):
            faults.append((number[0], split))
        number[0] += 1

    number = [0]
    world.memory.before_write = note
    commit.carry_out(world.memory, transaction)
    assert number[0] == count_writes(change) and any(done for _, done in faults)
    return faults


def fail_at(
    memory: FakeMemory, fault: tuple[int, int], error: Callable[[], Exception], *, lasting: bool
) -> None:
    """Let the n-th write from now on fail after some bytes; with ``lasting``, all later ones to that page as well."""
    number, done = fault
    seen = 0
    sealed = -1

    def before(address: int, data: bytes) -> None:
        nonlocal seen, sealed
        seen += 1
        first = seen == number + 1
        if first:
            sealed = (address + done) // PAGE
        if first or (lasting and address // PAGE <= sealed <= (address + len(data) - 1) // PAGE):
            front = done if first else max(sealed * PAGE - address, 0)
            memory.before_write = lambda *_: None
            memory.write(address, data[:front])
            memory.before_write = before
            raise error()

    memory.before_write = before


FAULTS = [(change, fault) for change in CHANGES for fault in every_fault(change)]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize(("change", "fault"), FAULTS, ids=str)
def test_a_kernel_that_refuses_leaves_everything_as_it_was(
    change: str, fault: tuple[int, int], lasting: bool
) -> None:
    world, *_ = stacked()
    revert, apply = CHANGES[change]
    transaction = world.transaction(revert=revert, apply=apply)
    before = world.memory.snapshot()
    fail_at(world.memory, fault, lambda: Unwritable("sealed"), lasting=lasting)
    with pytest.raises(Refusal) as refusal:
        commit.carry_out(world.memory, transaction)
    assert refusal.value.reason is Reason.MEMORY_SEALED
    world.memory.before_write = lambda *_: None
    if world.memory.snapshot() == before:
        return
    # what the kernel lets nobody write any more cannot be put back, but finished by whoever may write there
    assert lasting
    (record,) = [record for record in world.found() if record.state is State.CHANGING]
    assert record.journal == transaction.journal
    commit.finish(world.memory, record, record.journal)
    world.note(revert=revert, apply=apply)
    world.check()


@pytest.mark.parametrize(("change", "fault"), FAULTS, ids=str)
def test_what_a_killed_tool_began_is_finished(change: str, fault: tuple[int, int]) -> None:
    world, *_ = stacked()
    revert, apply = CHANGES[change]
    transaction = world.transaction(revert=revert, apply=apply)
    fail_at(world.memory, fault, Killed, lasting=False)
    with pytest.raises(Killed):
        commit.carry_out(world.memory, transaction)
    world.memory.before_write = lambda *_: None
    unfinished = [record for record in world.found() if record.state is State.CHANGING]
    if fault == (0, 0):
        assert not unfinished
        if apply is not None:  # what was prepared for it stays prepared
            world.records.pop()
        world.check()
        return
    (record,) = unfinished
    assert record.address == transaction.anchor and record.journal == transaction.journal
    commit.finish(world.memory, record, record.journal)
    world.note(revert=revert, apply=apply)
    world.check()


@settings(max_examples=60)
@given(st.data())
def test_finishing_may_be_killed_as_often_as_one_likes(data: st.DataObject) -> None:
    world, revert, apply = stacked()
    transaction = world.transaction(revert=revert, apply=apply)
    faults = every_fault("replace")[1:]
    fail_at(world.memory, data.draw(st.sampled_from(faults)), Killed, lasting=False)
    with pytest.raises(Killed):
        commit.carry_out(world.memory, transaction)
    for number in data.draw(st.lists(st.integers(0, 20), max_size=4)):
        world.memory.before_write = lambda *_: None
        unfinished = [record for record in world.found() if record.state is State.CHANGING]
        if not unfinished:
            break
        (record,) = unfinished
        assert record.journal is not None
        fail_at(world.memory, (number, 0), Killed, lasting=False)
        try:
            commit.finish(world.memory, record, record.journal)
        except Killed:
            continue
    world.memory.before_write = lambda *_: None
    for record in world.found():
        if record.state is State.CHANGING:
            assert record.journal is not None
            commit.finish(world.memory, record, record.journal)
    world.note(revert=revert, apply=apply)
    world.check()


def interrupted() -> tuple[Patched, Record]:
    world, revert, apply = stacked()
    transaction = world.transaction(revert=revert, apply=apply)
    fail_at(world.memory, (3, 0), Killed, lasting=False)
    with pytest.raises(Killed):
        commit.carry_out(world.memory, transaction)
    world.memory.before_write = lambda *_: None
    (record,) = [found for found in world.found() if found.state is State.CHANGING]
    return world, record


def test_foreign_bytes_are_not_overwritten_by_finishing() -> None:
    world, record = interrupted()
    assert record.journal is not None
    world.memory.write(record.journal.writes[-1].address, b"\xcc")
    before = world.memory.snapshot()
    with pytest.raises(Refusal, match="no live patch has put there") as refusal:
        commit.finish(world.memory, record, record.journal)
    assert refusal.value.reason is Reason.DAMAGED
    assert world.memory.snapshot() == before


def test_finishing_where_the_library_is_unmapped() -> None:
    world, record = interrupted()
    assert record.journal is not None
    left = world.memory.snapshot()
    memory = FakeMemory({**left, CODE: left[CODE][:PAGE]})
    before = memory.snapshot()
    with pytest.raises(Refusal, match="not mapped any more") as refusal:
        commit.finish(memory, record, record.journal)
    assert refusal.value.reason is Reason.DAMAGED
    assert memory.snapshot() == before


def test_finishing_where_the_kernel_refuses() -> None:
    world, record = interrupted()
    assert record.journal is not None
    fail_at(world.memory, (1, 0), lambda: Unwritable("sealed"), lasting=True)
    with pytest.raises(Refusal) as refusal:
        commit.finish(world.memory, record, record.journal)
    assert refusal.value.reason is Reason.MEMORY_SEALED
    world.memory.before_write = lambda *_: None
    assert [found.state for found in world.found() if found.address == record.address] == [State.CHANGING]


def test_bytes_that_somebody_else_changed() -> None:
    world, _, apply = stacked()
    world.memory.write(PLACES[4], b"\xcc")
    with pytest.raises(Refusal, match="another tool has changed function_4") as refusal:
        world.transaction(revert=(), apply=apply)
    assert refusal.value.reason is Reason.FUNCTION_NOT_PATCHABLE
    world.memory.write(PLACES[0], b"\xcc")
    with pytest.raises(Refusal, match="another tool has changed function_0 since") as refusal:
        world.transaction(revert=[2], apply=None)
    assert refusal.value.reason is Reason.FUNCTION_NOT_PATCHABLE


def test_bytes_that_somebody_changes_between_plan_and_stop() -> None:
    world, revert, apply = stacked()
    transaction = world.transaction(revert=revert, apply=apply)
    world.memory.write(PLACES[4], b"\xcc")
    before = world.memory.snapshot()
    with pytest.raises(Momentary, match="just changed function_4"):
        commit.carry_out(world.memory, transaction)
    assert world.memory.snapshot() == before


def test_who_stands_above_is_named() -> None:
    world, *_ = stacked()
    with pytest.raises(Refusal, match=r"/livepatch2\.so stands on its function_2") as refusal:
        world.transaction(revert=[1], apply=None)
    assert refusal.value.reason is Reason.OUT_OF_ORDER


def test_a_place_that_is_not_mapped() -> None:
    world = Patched()
    _, description = world.new_record([PLACES[0]], {place: [] for place in PLACES})
    with pytest.raises(Loading):
        commit.plan(
            FakeMemory({}),
            active=(),
            revert=(),
            apply=description.diversions,
            anchor=1,
            anchor_state=State.PREPARED,
        )


def test_a_place_that_comes_back_to_what_it_was_is_not_written() -> None:
    world, *_ = stacked()
    transaction = world.transaction(revert=[2], apply=[PLACES[3]])
    assert {write.address for write in transaction.journal.writes} == {PLACES[0], PLACES[2], PLACES[3]}
    assert [mark.state for mark in transaction.journal.marks] == [State.INACTIVE, State.ACTIVE]
