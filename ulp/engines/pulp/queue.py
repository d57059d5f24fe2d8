# SPDX-License-Identifier: GPL-2.0-or-later
"""libpulp's instruction queue: what it wants to have written into its own process, because it may not do so itself.

An instruction starts with a byte of type and three of size. Source: libpulp's include/insn_queue.h, lib/insn_queue.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ulp.arch.x86_64_pulp import ENDBR64_SIZE, PAD, is_prologue
from ulp.engines.pulp import abi
from ulp.memory import Memory
from ulp.result import Damaged

if TYPE_CHECKING:
    from host.procfs import Mapping

_NOP: Final = 0
_PRINT: Final = 1
_WRITE: Final = 2
_WRITE_HEAD: Final = struct.Struct("<IIQ")  # type and size, bytes to write, address
_LARGEST: Final = abi.QUEUE_SIZE // 2  # bytes; the rest of the queue's memory serves as a stack for calls


class Write(NamedTuple):
    """Bytes that libpulp wants at an address."""

    address: int
    data: bytes


def is_empty(memory: Memory, queue: int) -> bool:
    """Say whether the queue at an address asks for nothing; raises Unreadable and Damaged."""
    version, count, size = abi.QUEUE_LAYOUT.unpack(memory.read(queue, abi.QUEUE_LAYOUT.size))
    if version > abi.QUEUE_VERSION:
        raise Damaged(f"its instruction queue has version {version}, this ulp knows {abi.QUEUE_VERSION}")
    return not count and not size


def read(memory: Memory, queue: int, *, head: int) -> tuple[Write, ...]:
    """Return the writes in a queue, in their order; raises Damaged and Unreadable.

    ``head`` is how many bytes there are before the instructions, one of abi.QUEUE_HEADS.
    """
    _, count, size = abi.QUEUE_LAYOUT.unpack(memory.read(queue, abi.QUEUE_LAYOUT.size))
    if size > _LARGEST:
        raise Damaged(f"its instruction queue claims {size} bytes")
    if not size:  # clearing it was interrupted
        return ()
    data = memory.read(queue + head, size)
    writes = []
    position = 0
    for _ in range(count):
        if position + 4 > size:
            raise Damaged("its instruction queue ends within an instruction")
        (head,) = struct.unpack_from("<I", data, position)
        kind, length = head & 0xFF, head >> 8
        if kind == _WRITE and position + _WRITE_HEAD.size <= size:
            _, amount, address = _WRITE_HEAD.unpack_from(data, position)
            start = position + _WRITE_HEAD.size
            if amount > length - _WRITE_HEAD.size or start + amount > size:
                raise Damaged("an instruction to write is longer than its place in the queue")
            writes.append(Write(address, data[start : start + amount]))
        elif kind not in {_NOP, _PRINT}:
            raise Damaged(f"its instruction queue holds an instruction of type {kind}")
        # one that does nothing has no size
        position += 4 if kind == _NOP else max(length, 4)
    return tuple(writes)


def settled(writes: Sequence[Write]) -> tuple[Write, ...]:
    """Return fewer writes that come to the same, each of a whole place.

    When a live patch is taken back, libpulp restores each function once for every time that it was ever applied. Up
    to 0.3.7 it writes a detour first, and the address that it leads to in a second write.
    """
    whole: list[Write] = []
    for write in writes:
        if whole and (offset := write.address - whole[-1].address) >= 0:
            start, data = whole[-1]
            if offset + len(write.data) <= len(data):
                whole[-1] = Write(start, data[:offset] + write.data + data[offset + len(write.data) :])
                continue
        whole.append(write)
    last: dict[tuple[int, int], Write] = {}
    for write in reversed(whole):
        last.setdefault((write.address, len(write.data)), write)
    return tuple(reversed(last.values()))


def refuse_foreign(
    memory: Memory,
    writes: Sequence[Write],
    *,
    entries: Container[int],
    mappings: Callable[[], Sequence[Mapping]],
) -> None:
    """See that the writes are what libpulp asks for; raises Damaged and Unreadable.

    In code that is only a function's entry, diverted or restored; whatever else a process has put into its own queue
    is not written for it into what it may not write itself. ``entries`` are functions that are known to be code; what
    is elsewhere is looked up in the ``mappings``, which are asked for only then.
    """
    for write in writes:
        start = write.address
        is_code = start + PAD in entries or start in entries or start - ENDBR64_SIZE in entries
        if not is_code:
            ends = (start, start + len(write.data) - 1)
            permissions = [_permissions(mappings(), address) for address in ends]
            is_code = any("x" in each for each in permissions)
        if is_code and not is_prologue(memory.read(start, len(write.data)), write.data):
            raise Damaged(f"its instruction queue wants to write foreign code at {start:#x}")


def _permissions(mappings: Sequence[Mapping], address: int) -> str:
    for mapping in mappings:
        if mapping.start <= address < mapping.end:
            return mapping.permissions
    raise Damaged(f"its instruction queue wants to write at {address:#x}, where nothing is mapped")


def clear(memory: Memory, queue: int) -> None:
    """Empty the queue; raises Unwritable."""
    # the size first, as libpulp's own tool does: an interrupted clearing is still seen as work to do
    memory.write(queue + 8, bytes(4))
    memory.write(queue + 4, bytes(4))
