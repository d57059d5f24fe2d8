# SPDX-License-Identifier: GPL-2.0-or-later
"""Finishes what a killed tool has left in a process with libpulp: a thread in a call, or a queue of writes.

Both this project's tool and libpulp's own can be killed between a call and the writes that it asks for. libpulp says
"patched" then though nothing is diverted, and refuses all that comes later (its error EINSNQ).
"""

from __future__ import annotations

import struct

from ulp.arch import x86_64_call as injected
from ulp.arch.x86_64_call import AREA
from ulp.arch.x86_64_pulp import PAD
from ulp.engines.pulp import abi, queue
from ulp.engines.pulp.leftover import POISONED, area_of, is_calling
from ulp.engines.pulp.library import Libpulp
from ulp.engines.pulp.operation import carry_out
from ulp.memory import Unreadable
from ulp.process import Process
from ulp.result import Damaged, Reason, Refusal
from ulp.standstill.borrow import DirtyCave, clean_cave, find_cave
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import Momentary, while_standing
from ulp.standstill.tracing import run_tracing


def finish(process: Process, libpulp: Libpulp) -> None:
    """Write what the queue asks for; raises Refusal, and Momentary while a thread is in a call.

    Has to be called with the process's lock held: a tool that is alive and at work holds it.
    """
    memory, address = process.memory, libpulp.symbols[abi.INSTRUCTIONS]
    if is_calling(memory, address):
        _end_call(process, area_of(address))
    try:
        writes = queue.read(memory, address, head=libpulp.queue_head)
        inside = [write.address + offset for write in writes for offset in _between(len(write.data))]
    except (Damaged, Unreadable) as error:
        raise Refusal(Reason.DAMAGED, str(error)) from error
    watch = Watch(process, ranges=Ranges(()), inside=inside)

    def act() -> None:
        carry_out(process, libpulp)
        if libpulp.error_state == POISONED:
            memory.write(libpulp.symbols[abi.ERROR_STATE], struct.pack("<i", 0))

    try:
        run_tracing(lambda: while_standing(process.pid, look=watch.look, act=act))
    except Damaged as error:
        raise Refusal(Reason.DAMAGED, str(error)) from error


def _end_call(process: Process, area: int) -> None:
    """See that no thread is in a call that a killed tool has begun; raises Momentary while one is.

    The tool may as well have died before it sent the thread there, or after it had given it back.
    """
    try:
        find_cave(process.mapped_objects(), process, size=injected.SIZE)
    except DirtyCave as cave:
        try:
            clean_cave(process, cave.address, cave.size)
        except Momentary as error:
            raise Momentary(
                Reason.LOADING, "a thread is still in a call that a killed ulp has begun"
            ) from error
    process.memory.write(area, bytes(AREA.size))


def _between(size: int) -> tuple[int, ...]:
    """Return where in a write to a function's entry no thread may go on (ulp/arch/x86_64_pulp.py)."""
    if size == 2:
        return (1,)
    return (PAD + 1, PAD + 5) if size in {PAD + 2, PAD + 6} else ()
