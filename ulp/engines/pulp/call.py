# SPDX-License-Identifier: GPL-2.0-or-later
"""Leads one standing thread through calls of functions in its own process, and gives it back as it was.

The thread runs injected code that needs nobody to finish (ulp/arch/x86_64_call.py), on a stack in the unused end of
libpulp's instruction queue. Its signals wait meanwhile, but for those that its own instructions can cause, which end
the call, not the process, and those that the process ignores.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from ulp.arch import x86_64 as arch
from ulp.arch import x86_64_call as injected
from ulp.arch.x86_64_call import AREA, Code, Status
from ulp.engines.pulp.leftover import area_of
from ulp.memory import Memory
from ulp.process import Object, Process
from ulp.result import Reason, Refusal
from ulp.standstill.borrow import find_cave, in_restartable_sequence, signals_to_block
from ulp.tracee import Gone, Thread, wait_for_news

_FAULTS: Final = (
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS
)  # fmt: skip
_FIRST_LOOK: Final = 50e-6  # seconds; the shortest call takes 100 microseconds
_LONGEST_REST: Final = 0.002
_LONGEST_STOP: Final = 2.0


class Crashed(Exception):
    """The called function caused a fatal signal; the thread stands there."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


class Place(NamedTuple):
    """Where the injected code and its data lie in a process."""

    code: int
    area: int


class Caller:
    """One thread that stands, and the calls that it is led through."""

    def __init__(self, memory: Memory, thread: Thread, place: Place, *, ignored: int) -> None:
        """``ignored``: the mask of the signals that the process ignores."""
        self.thread = thread
        self.signals: list[int] = []  # those that came meanwhile and are to be sent again
        self.has_company = False  # whether threads were started meanwhile
        self._born: list[Thread] = []  # of these those that still have to be let go
        self._memory = memory
        self._place = place
        self._ignored = ignored
        self._aside = False  # whether the thread is away from its own code
        self._code = Code(b"", 0, 0, 0)

    def start(self, function: int, argument: int = 0) -> None:
        """Let the thread call a function (one word of argument); raises Gone, Unwritable and MemoryGone."""
        thread = self.thread
        if thread.signal:  # on its way to the thread's own code
            self._restore()
        first = not self._aside
        if first:
            self._find_instant()
            self._lead_aside()
        self._memory.write(self._place.area, AREA.pack(Status.CALLING, 0, self._mask))
        self._entry = self._code.first if first else self._code.next
        arch.enter(thread.registers, self._entry)
        thread.registers[arch.R15] = function
        thread.registers[arch.RDI] = argument
        thread.registers[arch.RSP] = self._place.area
        thread.write_registers()
        thread.set_signal_mask(self._waiting)
        self._aside = True
        thread.resume()

    def _find_instant(self) -> None:
        """Let a thread that runs its own code again go on to where it may be led aside; raises Refusal and Gone.

        A signal that it stopped for is delivered by that: sent again it would have lost its details (sigaction(2)).
        """
        thread = self.thread
        deadline = time.monotonic() + _LONGEST_STOP
        while (
            thread.signal
            or thread.registers[arch.ORIG_RAX] in arch.CREATING_CALLS
            or in_restartable_sequence(self._memory, thread)
        ):
            if time.monotonic() > deadline:
                raise Refusal(Reason.NOT_RUNNING, f"thread {thread.tid} cannot be led aside")
            thread.resume()
            self._stop()

    def _lead_aside(self) -> None:
        """Remember all that the thread has, and put the code there that would give it back."""
        thread = self.thread
        self._saved = list(thread.registers)
        self._mended = thread.mended
        self._mask = thread.signal_mask()
        self._waiting = signals_to_block(self._ignored, mask=self._mask, but=_FAULTS)
        self._vectors = thread.vector_state()
        self._code = injected.assemble(
            address=self._place.code,
            area=self._place.area,
            registers=arch.after_restart(thread.registers),
            has_xsave=self._vectors[0] == arch.XSAVE_STATE,
        )
        self._memory.write(self._place.code, self._code.data)

    def wait(self, seconds: float, *, given_up: Callable[[], bool] = lambda: False) -> int | None:
        """Return what the called function returned (a signed int), None when it has not returned in that time.

        Afterwards the thread stands, unless it is still calling. Raises Crashed, Refusal and Gone.
        """
        deadline = time.monotonic() + seconds
        rest = _FIRST_LOOK
        while True:
            # in this order: a stop that comes after the call's end is none of the call
            stopped = self.thread.poll_stopped()
            if self._has_returned():
                return self._caught()
            self._let_born_go()
            if stopped:
                self._take_birth()
                self._put_off_signal()
                self.thread.resume()
            elif time.monotonic() > deadline or given_up():
                return None
            else:
                wait_for_news(rest)
                rest = min(rest * 1.25, _LONGEST_REST)

    def _put_off_signal(self) -> None:
        """Keep a signal that could not be blocked for later; raises Crashed when the call itself has caused it."""
        number, self.thread.signal = self.thread.signal, 0
        if not number:
            return
        if number in _FAULTS and self.thread.signal_is_fault():
            raise Crashed(number)
        self.signals.append(number)

    def _take_birth(self) -> bool:
        """Note a thread that this one is starting, whose tracer we are then; says whether there is one."""
        child, self.thread.event_child = self.thread.event_child, 0
        if child:
            self._born.append(Thread(child))
            self.has_company = True
        return bool(child)

    def _let_born_go(self) -> None:
        """Let go what has been started and stands, before its first instruction."""
        for thread in tuple(self._born):
            with suppress(Gone):
                if not thread.poll_stopped():
                    continue
                thread.detach()
            self._born.remove(thread)

    def _has_returned(self) -> bool:
        status, _, _ = AREA.unpack(self._memory.read(self._place.area, AREA.size))
        return bool(status != Status.CALLING)

    def _caught(self) -> int:
        """Stop a thread whose call has returned, and return the result; it may be in its own code again."""
        self._stop()
        pc = self.thread.registers[arch.RIP]
        self._aside = 0 <= pc - self._place.code < len(self._code.data)
        _, result, _ = AREA.unpack(self._memory.read(self._place.area, AREA.size))
        return int(result)

    def _stop(self) -> None:
        """Stop the thread, but not in the midst of clone(2), with a result on its way; raises Refusal and Gone."""
        thread = self.thread
        deadline = time.monotonic() + _LONGEST_STOP
        asked = False
        while True:
            self._let_born_go()
            if thread.stopped or thread.poll_stopped():
                if self._take_birth():
                    thread.resume()
                    asked = False  # every stop takes the place of one that was asked for
                elif not self._born:
                    return
            elif not asked:
                thread.interrupt()
                asked = True
            if time.monotonic() > deadline:
                raise Refusal(Reason.NOT_RUNNING, f"thread {thread.tid} does not stop (frozen?)")
            wait_for_news(0.001)

    @property
    def has_begun(self) -> bool:
        """Whether a halted thread has executed anything of its call."""
        return self.thread.registers[arch.RIP] != self._entry

    def halt(self) -> int | None:
        """Stop the thread; returns what its call has returned after all, None when it is within it still.

        It may be given back or led on then. Raises Refusal and Gone.
        """
        self._stop()
        if self._has_returned():
            return self._caught()
        with suppress(Crashed):  # the call is given up anyway
            self._put_off_signal()
        return None

    def give_back(self) -> None:
        """Give the thread all that it had, and take the code away; it stands. Raises Gone."""
        self._restore()
        if self._code.data:
            self._memory.write(self._place.code, bytes(len(self._code.data)))
            self._memory.write(self._place.area, bytes(AREA.size))

    def _restore(self) -> None:
        if not self._aside:
            return
        thread = self.thread
        for index, value in enumerate(self._saved):
            thread.registers[index] = value
        thread.set_vector_state(*self._vectors)
        # the mask before the registers: if the tool dies in between, the code gives those back
        thread.set_signal_mask(self._mask)
        thread.write_registers()
        thread.mended = self._mended
        self._aside = False

    def send_signals(self, pid: int) -> None:
        """Send what came meanwhile again, once nobody holds the process."""
        for number in self.signals:
            os.kill(pid, number)


def function_of_stub(memory: Memory, stub: int) -> int:
    """Return the function that one of libpulp's stubs (nop nop call int3) calls; raises Refusal.

    The stub itself must not be entered: it ends in a trap, which kills the process when the tool has died meanwhile.
    """
    code = memory.read(stub, 8)
    if code[:3] != b"\x90\x90\xe8":
        raise Refusal(Reason.LIBPULP, "this libpulp is entered in another way than ulp knows")
    return stub + 7 + int(struct.unpack("<i", code[3:7])[0])


def find_place(process: Process, objects: Sequence[Object], queue: int) -> Place:
    """Return where the code and data of calls can lie; raises Refusal (no-room) and DirtyCave."""
    return Place(find_cave(objects, process, size=injected.SIZE), area_of(queue))
