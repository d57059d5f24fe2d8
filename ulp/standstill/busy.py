# SPDX-License-Identifier: GPL-2.0-or-later
"""Which threads are inside the functions that are about to change: by program counter and by every word on the stack.

Stacks are not unwound: a word that looks like an address inside a function counts. That errs on the safe side, needs
no unwind tables, and sees the saved contexts of signal handlers too.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Final

from host.procfs import Mapping
from ulp.arch import x86_64 as arch
from ulp.process import Process
from ulp.result import BusyCall, Reason
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import Momentary
from ulp.standstill.words import AddressSearch
from ulp.tracee import Thread

_LONGEST_STACK: Final = 8 << 20  # bytes looked at from a stack pointer on, the usual RLIMIT_STACK
_WORD: Final = 8


class Watch:
    """Looks at threads that stand; collects the calls that are inside of a function."""

    def __init__(self, process: Process, *, ranges: Ranges, inside: Iterable[int]) -> None:
        """``ranges`` are the functions that change, ``inside`` the addresses where no thread may go on."""
        self._process = process
        self._ranges = ranges
        self._inside = frozenset(inside)
        self._search = AddressSearch([*ranges.bounds, *((address, address + 1) for address in self._inside)])
        self.calls: set[BusyCall] = set()
        self.stacks: set[tuple[int, int]] = set()  # (start, end) of what threads use as their stacks

    @property
    def sorted_calls(self) -> tuple[BusyCall, ...]:
        """The calls seen so far, by function and thread."""
        return tuple(sorted(self.calls, key=lambda call: (call.function, call.thread)))

    def look(self, threads: list[Thread]) -> None:
        """Look at threads; raises Momentary when one of them would go on inside of the bytes that change."""
        for thread in threads:
            for pc in arch.resume_points(thread.registers):
                if pc in self._inside:
                    raise Momentary(
                        Reason.STACK_BUSY, f"thread {thread.tid} is at the entry of {self._name(pc)}"
                    )
            self._note(thread.registers[arch.RIP], thread.tid)
            for address, data in self._stacks(thread):
                self._scan(address, data, thread.tid)

    def _name(self, address: int) -> str:
        return self._ranges.name_at(address) or f"{address:#x}"

    def _note(self, address: int, tid: int) -> None:
        name = self._ranges.name_at(address)
        if name is not None:
            self.calls.add(BusyCall(function=name, thread=tid))

    def _stacks(self, thread: Thread) -> Iterable[tuple[int, bytes]]:
        """Yield (address, contents) of the stack in use, and of the ordinary one where that is another."""
        pointer = thread.registers[arch.RSP]
        low = (pointer - arch.RED_ZONE) & -_WORD
        current = self._mapping_at(pointer)
        if current is None:
            return
        start, end = current
        low = max(low, start)
        # no more than this: the rest of its mapping may hold the stacks of coroutines that wait
        end = min(end, low + _LONGEST_STACK)
        self.stacks.add((low, end))
        yield low, self._process.memory.read_some(low, end - low)
        usual = self._usual_stack(thread)
        if usual is not None and usual != current:
            start, end = usual
            low = max(start, end - _LONGEST_STACK)
            self.stacks.add((low, end))
            yield low, self._process.memory.read_some(low, end - low)

    def _usual_stack(self, thread: Thread) -> tuple[int, int] | None:
        if thread.tid == self._process.pid:
            for mapping in reversed(self._process.mappings):
                if mapping.path == "[stack]":
                    return mapping.start, mapping.end
        # glibc and musl keep the thread's control block at the upper end of its stack
        return self._mapping_at(thread.registers[arch.FS_BASE])

    def _mapping_at(self, address: int) -> tuple[int, int] | None:
        for fresh in (False, True):
            if fresh:  # a stack that was mapped after the map was read
                self._process.refresh()
            mappings = self._process.mappings
            position = bisect.bisect_right(mappings, address, key=_start) - 1
            if position >= 0:
                mapping = mappings[position]
                if address < mapping.end:
                    return mapping.start, mapping.end
        return None

    def _scan(self, address: int, data: bytes, tid: int) -> None:
        for _, word in self._search.words(address, data):
            if word in self._inside:
                raise Momentary(
                    Reason.STACK_BUSY, f"thread {tid} will return to the entry of {self._name(word)}"
                )
            self._note(word, tid)


def _start(mapping: Mapping) -> int:
    return mapping.start
