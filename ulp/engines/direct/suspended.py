# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls on stacks that no thread is on: coroutines that wait for their turn (makecontext(3), QEMU, language runtimes).

Only strict consistency asks for them. They are looked for in all private writable memory while the process runs, and
what was found is looked at again when everything stands. What looks like a return address into a function that is to
change, and follows a call instruction, counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ulp.arch.x86_64 import LONGEST_CALL, follows_call
from ulp.memory import Memory, Unreadable
from ulp.process import Process
from ulp.standstill.ranges import Ranges
from ulp.standstill.words import AddressSearch

_PIECE: Final = 1 << 20
_MOST: Final = 1 << 30  # bytes of memory looked through


class SuspendedCalls:
    """What was found in one process."""

    def __init__(self, process: Process, ranges: Ranges) -> None:
        self._memory = process.memory
        self._ranges = ranges
        self._found = dict(_find(process, ranges))

    def still_there(self, stacks: Iterable[tuple[int, int]]) -> tuple[str, int] | None:
        """Return (function, address) of a call that is on none of the ``stacks`` (start, end) of threads."""
        areas = list(stacks)
        for address, word in self._found.items():
            if any(start <= address < end for start, end in areas):
                continue
            if self._memory.read_some(address, 8) == word.to_bytes(8, "little"):
                return self._ranges.name_at(word) or hex(word), address
        return None


def _find(process: Process, ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Yield (address, word) of what looks like a return address into one of the ranges."""
    search = AddressSearch(ranges.bounds)
    left = _MOST
    for mapping in process.mappings:
        if mapping.permissions != "rw-p" or mapping.inode:
            continue
        for start in range(mapping.start, mapping.end, _PIECE):
            size = min(_PIECE, mapping.end - start)
            left -= size
            if left < 0:
                return
            for address, word in search.words(start, process.memory.read_some(start, size)):
                if ranges.name_at(word) is not None and _follows_call(process.memory, word):
                    yield address, word


def _follows_call(memory: Memory, address: int) -> bool:
    try:
        return follows_call(memory.read(address - LONGEST_CALL, LONGEST_CALL))
    except Unreadable:
        return False
