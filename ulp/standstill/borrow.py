# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process lends for a moment: unused bytes in a page of its code, and a thread that may be led aside."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from host import procfs
from ulp import elf_constants as c
from ulp.arch import x86_64 as arch
from ulp.arch import x86_64_stub as stub
from ulp.memory import Memory
from ulp.process import Object, Process
from ulp.result import Reason, Refusal
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import while_standing
from ulp.standstill.tracing import run_tracing
from ulp.tracee import Thread

_IGNORED_BY_DEFAULT: Final = (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH)  # signal(7)


class DirtyCave(Exception):
    """Code of a killed tool is left behind; whether a thread is still in it must be looked at first."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(hex(address))
        self.address = address
        self.size = size


def caves(objects: Iterable[Object], process: Process) -> Iterator[tuple[int, int]]:
    """Yield (address, size) of the rests of pages behind the code of objects."""
    executable = {m.end: m for m in process.mappings if m.permissions == "r-xp"}
    for item in objects:
        for load in item.image.loads:
            end = item.bias + load.address + load.file_size
            page_end = -(-end // arch.PAGE) * arch.PAGE
            if load.flags & c.PF_X and page_end in executable and page_end - end >= 64:
                start = -(-end // 16) * 16
                yield start, page_end - start


def find_cave(objects: Iterable[Object], process: Process, *, size: int) -> int:
    """Return the address of ``size`` unused bytes of code; raises Refusal (no-room) and DirtyCave."""
    for address, room in caves(objects, process):
        data = process.memory.read_some(address, room)
        if data.startswith(stub.MARKER):
            raise DirtyCave(address, len(data))
        if len(data) == room >= size and not any(data):
            return address
    raise Refusal(Reason.NO_ROOM, "no object in the process has room for the code that is needed")


def in_restartable_sequence(memory: Memory, thread: Thread) -> bool:
    """Say whether the kernel would restart the thread's present instructions if it ran elsewhere (rseq(2))."""
    area = thread.rseq_area()
    if not area:
        return False
    section = memory.word(area + 8)
    if not section:
        return False
    _, start, length, _ = struct.unpack("<QQQQ", memory.read(section, 32))
    return bool(start <= thread.registers[arch.RIP] < start + length)


def ignored_signals(pid: int) -> int:
    """Return the mask of the signals that a process ignores; to be asked before anybody stands. Raises Refusal.

    A thread that is led aside must not block them: an ignored signal is dropped, unless the thread that it is sent to
    blocks it; then it is given to another one, whose wait ends in EINTR (sig_ignored() and complete_signal() in
    kernel/signal.c).
    """
    try:
        chosen, caught = procfs.dispositions(pid, pid)
    except OSError as error:
        raise Refusal(Reason.PROCESS_GONE) from error
    return chosen | (_mask(_IGNORED_BY_DEFAULT) & ~caught)


def signals_to_block(ignored: int, *, mask: int, but: Iterable[int] = ()) -> int:
    """Return the mask for a thread that is led aside, whose own is ``mask``: all but the ignored and ``but`` those."""
    return arch.MASK64 & ~_mask(but) & (mask | ~ignored)


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << (number - 1) for number in numbers)


def clean_cave(process: Process, address: int, size: int) -> None:
    """Take away the code that a killed tool has left, once no thread is in it; raises Refusal and Momentary."""
    watch = Watch(
        process, ranges=Ranges([(address, size, "leftover code")]), inside=range(address, address + size)
    )
    run_tracing(
        lambda: while_standing(
            process.pid, look=watch.look, act=lambda: _clear(process.memory, address, size)
        )
    )


def _clear(memory: Memory, address: int, size: int) -> None:
    memory.write(address, bytes(size))
