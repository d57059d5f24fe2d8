# SPDX-License-Identifier: GPL-2.0-or-later
"""libpulp's instruction queue, as it should be and as a damaged or hostile process may show it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import procfs
from host.procfs import Mapping
from tests.ulp.arch.test_x86_64_pulp import DIVERTED, PADDING
from ulp.engines.pulp import abi, queue
from ulp.engines.pulp.queue import Write
from ulp.memory import Memory
from ulp.result import Damaged

ROOM = 4096


class Queue:
    """A queue in this process's own memory."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.buffer = ctypes.create_string_buffer(max(abi.QUEUE_HEADS) + ROOM)
        self.address = ctypes.addressof(self.buffer)

    def fill(
        self, instructions: bytes, count: int, *, size: int | None = None, version: int = 1, head: int = 16
    ) -> None:
        numbers = abi.QUEUE_LAYOUT.pack(version, count, len(instructions) if size is None else size)
        data = numbers.ljust(head, b"\0") + instructions
        ctypes.memmove(self.buffer, data, len(data))

    def read(self, *, head: int = 16) -> tuple[Write, ...]:
        return queue.read(self.memory, self.address, head=head)


@pytest.fixture(scope="module")
def own() -> Iterator[Queue]:
    with Memory(os.getpid()) as memory:
        yield Queue(memory)


def write(address: int, data: bytes) -> bytes:
    size = 16 + len(data) + 7 & -8
    return struct.pack("<IIQ", 2 | size << 8, len(data), address) + data.ljust(size - 16, b"\0")


def note(text: bytes) -> bytes:
    size = 4 + len(text) + 1 + 3 & -4
    return struct.pack("<I", 1 | size << 8) + text.ljust(size - 4, b"\0")


@pytest.mark.parametrize("head", abi.QUEUE_HEADS)
def test_writes_in_their_order_notes_left_out(own: Queue, head: int) -> None:
    instructions = note(b"hello") + write(0x1000, b"abc") + struct.pack("<I", 0) + write(0x2000, b"12345678")
    own.fill(instructions, 4, head=head)
    assert own.read(head=head) == (Write(0x1000, b"abc"), Write(0x2000, b"12345678"))
    assert not queue.is_empty(own.memory, own.address)
    queue.clear(own.memory, own.address)
    assert queue.is_empty(own.memory, own.address)
    assert own.read() == ()


@given(st.lists(st.tuples(st.integers(0, 24), st.binary(min_size=1, max_size=8)), max_size=12))
def test_what_is_left_out_makes_no_difference(asked: list[tuple[int, bytes]]) -> None:
    def outcome(writes: Sequence[Write]) -> bytes:
        memory = bytearray(32)
        for write in writes:
            memory[write.address : write.address + len(write.data)] = write.data
        return bytes(memory)

    writes = [Write(address, data) for address, data in asked]
    kept = queue.settled(writes)
    assert outcome(kept) == outcome(writes)
    assert len({(write.address, len(write.data)) for write in kept}) == len(kept) <= len(writes)


def test_a_detour_in_two_writes_is_one() -> None:
    """As libpulp 0.3.0 asks for it."""
    writes = [Write(0x1000, DIVERTED[:6] + bytes(8) + DIVERTED[14:]), Write(0x1006, DIVERTED[6:14])]
    assert queue.settled(writes) == (Write(0x1000, DIVERTED),)


def test_a_clearing_that_was_interrupted(own: Queue) -> None:
    own.fill(write(0x1000, b"abc"), 1, size=0)
    assert not queue.is_empty(own.memory, own.address)
    assert own.read() == ()


@pytest.mark.parametrize(
    ("instructions", "count", "size"),
    [
        (write(0x1000, b"abc"), 2, None),
        (write(0x1000, b"abc")[:16], 1, None),
        (struct.pack("<IIQ", 2 | 24 << 8, 4000, 0x1000) + bytes(8), 1, None),
        (struct.pack("<I", 9 | 4 << 8), 1, None),
        (b"", 0, abi.QUEUE_SIZE),
    ],
)
def test_damaged(own: Queue, instructions: bytes, count: int, size: int | None) -> None:
    own.fill(instructions, count, size=size)
    with pytest.raises(Damaged):
        own.read()


def test_a_later_version_is_not_guessed_at(own: Queue) -> None:
    own.fill(b"", 0, version=2)
    with pytest.raises(Damaged, match="version 2"):
        queue.is_empty(own.memory, own.address)


@given(instructions=st.binary(max_size=200), count=st.integers(0, 50))
def test_bytes_of_any_kind(own: Queue, instructions: bytes, count: int) -> None:
    own.fill(instructions, count)
    try:
        writes = own.read()
    except Damaged:
        return
    assert sum(len(each.data) for each in writes) <= len(instructions)


def own_mappings() -> list[Mapping]:
    return list(procfs.parse_maps(procfs.read("/proc/self/maps")))


def test_what_may_be_written(own: Queue) -> None:
    """Data, and entries of functions; never other code, whatever the queue says."""
    place = ctypes.create_string_buffer(PADDING + b"\x90\x90", len(DIVERTED))
    data = ctypes.addressof(place)
    code = next(m.start for m in own_mappings() if m.permissions == "r-xp")

    def refuse(*writes: Write, entries: frozenset[int] = frozenset()) -> None:
        queue.refuse_foreign(own.memory, writes, entries=entries, mappings=own_mappings)

    refuse(Write(data, b"any data"))
    refuse(Write(data, DIVERTED), entries=frozenset({data + len(PADDING)}))
    for foreign in (Write(code, b"\x0f\x05"), Write(code, DIVERTED), Write(1, b"nothing is there")):
        with pytest.raises(Damaged):
            refuse(Write(data, b"any data"), foreign)
    with pytest.raises(Damaged):
        refuse(Write(data, b"any data"), entries=frozenset({data}))
