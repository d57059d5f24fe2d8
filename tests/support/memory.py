# SPDX-License-Identifier: GPL-2.0-or-later
"""A process's memory that is none: bytes at addresses, with the faults that a kernel can have."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from ulp.memory import Memory, MemoryGone, Unreadable, Unwritable


class FakeMemory(Memory):
    """Regions of bytes by address; adjacent regions are one.

    ``before_write`` sees each write before it is done: raising Unwritable there is a kernel that refuses, raising
    anything else is a tool that is killed at this place. ``writes`` counts those that were done.
    """

    def __init__(self, regions: Mapping[int, bytes]) -> None:
        self._regions: list[tuple[int, bytearray]] = []
        for address, data in sorted(regions.items()):
            if self._regions and self._end == address:
                self._regions[-1][1].extend(data)
            else:
                self._regions.append((address, bytearray(data)))
        self.before_write: Callable[[int, bytes], None] = lambda address, data: None
        self.writes = 0
        self.gone = False

    @property
    def _end(self) -> int:
        start, data = self._regions[-1]
        return start + len(data)

    @property
    def domain(self) -> bytes:
        """Everybody's."""
        return b""

    def __exit__(self, *_: object) -> None:
        self.gone = True

    def _find(self, address: int) -> tuple[bytearray, int]:
        """Return the region that holds an address, and where in it that is."""
        for start, data in self._regions:
            if start <= address < start + len(data):
                return data, address - start
        return bytearray(), 0

    def read(self, address: int, size: int) -> bytes:
        data = self.read_some(address, size)
        if len(data) != size:
            raise Unreadable(f"nothing can be read at {address + len(data):#x}")
        return data

    def read_some(self, address: int, size: int) -> bytes:
        if self.gone and size:
            raise MemoryGone
        data, offset = self._find(address)
        return bytes(data[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        if self.gone:
            raise MemoryGone
        self.before_write(address, data)
        region, offset = self._find(address)
        room = len(region) - offset
        region[offset : offset + min(room, len(data))] = data[:room]
        if room < len(data):
            raise Unwritable(f"writing at {address + room:#x}: {os.strerror(errno.EIO)}")
        self.writes += 1

    def snapshot(self) -> dict[int, bytes]:
        """All that there is, by address, to compare with later."""
        return {start: bytes(data) for start, data in self._regions}
