# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes a thread out of a call that does not end, and mends what the call has left behind.

The call hangs or has crashed in a constructor, within dlopen(3): the thread holds the dynamic linker's lock, which no
other thread would ever get, and libpulp would go on with the same container whatever it was asked for next.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from host.procfs import Mapping
from ulp import elf_constants as c
from ulp.engines.pulp import abi, queue
from ulp.engines.pulp.call import Caller, Crashed
from ulp.engines.pulp.library import Libpulp
from ulp.memory import Memory, NotAnImage, Unreadable
from ulp.process import Object, Process

_UNLOCK: Final = "pthread_mutex_unlock"
_SECONDS: Final = 1.0  # for one call of it
# struct __pthread_mutex_s: lock, count, owner, users, kind (glibc, sysdeps/x86/nptl/bits/struct_mutex.h)
_MUTEX: Final = struct.Struct("<iIiIi")
_RECURSIVE: Final = 1
_MOST_NESTED: Final = 64
_UNKNOWN_ERROR: Final = 256
_BUFFERS: Final = (abi.METADATA, abi.MESSAGES, abi.INSTRUCTIONS)
_BUFFER_SIZE: Final = {
    abi.METADATA: abi.METADATA_SIZE,
    abi.MESSAGES: abi.RING_SIZE + abi.RING_LAYOUT.size,
    abi.INSTRUCTIONS: abi.QUEUE_SIZE + max(abi.QUEUE_HEADS),
}
_HEAD: Final = 64  # bytes of what libpulp has parsed; the patch id is among the first


def abort(
    process: Process, libpulp: Libpulp, caller: Caller, *, patch_id: bytes, objects: Sequence[Object]
) -> None:
    """End the call that a thread is in: the thread has its own registers then and stands. Raises Refusal and Gone."""
    caller.halt()
    for lock, count in _held_locks(process, objects, caller.thread.tid):
        _unlock(caller, objects, lock, count)
    caller.give_back()
    memory = process.memory
    memory.write(libpulp.symbols[abi.METADATA], bytes(4096))
    queue.clear(memory, libpulp.symbols[abi.INSTRUCTIONS])
    process.refresh()
    reference = _reference(process, libpulp, patch_id)
    if reference is not None:
        memory.write(reference, bytes(8))
    else:  # better no more live patches through libpulp than the wrong one
        memory.write(libpulp.symbols[abi.ERROR_STATE], struct.pack("<i", _UNKNOWN_ERROR))


def _held_locks(process: Process, objects: Sequence[Object], tid: int) -> list[tuple[int, int]]:
    """Return (address, how often) of the recursive locks in the dynamic linker's data that a thread holds."""
    found = []
    for linker in objects:
        if not linker.image.soname.startswith("ld"):
            continue
        for load in linker.image.loads:
            if not load.flags & c.PF_W:
                continue
            start = linker.bias + load.address + 7 & -8
            data = process.memory.read_some(start, load.memory_size)
            for offset in range(0, len(data) - _MUTEX.size, 8):
                lock, count, owner, _, kind = _MUTEX.unpack_from(data, offset)
                if owner == tid and lock in {1, 2} and kind == _RECURSIVE and 0 < count <= _MOST_NESTED:
                    found.append((start + offset, count))
    return found


def _unlock(caller: Caller, objects: Sequence[Object], lock: int, count: int) -> None:
    for item in objects:
        try:
            symbol = item.image.symbols.find(_UNLOCK)
        except NotAnImage:
            continue
        if symbol is not None and item.image.soname.startswith(("libc.so", "libpthread.so")):
            for _ in range(count):
                caller.start(item.bias + symbol.value, lock)
                with suppress(Crashed):
                    caller.wait(_SECONDS)
                caller.halt()
            return


def _reference(process: Process, libpulp: Libpulp, patch_id: bytes) -> int | None:
    """Return where libpulp keeps the address of the metadata that it is at, None when that cannot be told."""
    found = []
    for start, data in _variables(process, libpulp):
        for offset in range(0, len(data) - 7, 8):
            (pointer,) = struct.unpack_from("<Q", data, offset)
            if (
                pointer
                and _is_writable(process.mappings, pointer)
                and patch_id in _head(process.memory, pointer)
            ):
                found.append(start + offset)
    return found[0] if len(found) == 1 else None


def _variables(process: Process, libpulp: Libpulp) -> Iterator[tuple[int, bytes]]:
    """Yield (address, contents) of libpulp's variables but for its large buffers."""
    large = sorted(
        (libpulp.symbols[name], libpulp.symbols[name] + _BUFFER_SIZE[name])
        for name in _BUFFERS
        if name in libpulp.symbols
    )
    image = next(item.image for item in process.mapped_objects() if item.bias == libpulp.bias)
    for load in image.loads:
        if load.flags & c.PF_W:
            position = libpulp.bias + load.address + 7 & -8
            end = libpulp.bias + load.address + load.memory_size
            for start, stop in [*((s, e) for s, e in large if position <= s < end), (end, end)]:
                if position < start:
                    yield position, process.memory.read_some(position, start - position)
                position = max(position, stop + 7 & -8)


def _is_writable(mappings: Sequence[Mapping], address: int) -> bool:
    return any(m.start <= address < m.end and "w" in m.permissions for m in mappings)


def _head(memory: Memory, address: int) -> bytes:
    try:
        return memory.read_some(address, _HEAD)
    except Unreadable:
        return b""
