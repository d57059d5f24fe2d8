# SPDX-License-Identifier: GPL-2.0-or-later
"""Where functions begin and end in an object in a process's memory, by its tables for unwinding.

They cover private functions too, and survive stripping. Formats: .eh_frame and .eh_frame_hdr as in the Linux Standard
Base core specification, sections 10.6.1 and 10.6.2.
"""

from __future__ import annotations

import bisect
import functools
import struct
from typing import TYPE_CHECKING

from ulp import elf_constants as c
from ulp.memory import NotAnImage

if TYPE_CHECKING:
    from ulp.image import Image


class UnwindTable:
    """Finds functions in an image; all addresses are link-time addresses."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def function_at(self, address: int) -> tuple[int, int] | None:
        """Return (start, size) of the function that holds an address, by the unwind tables; None if unknown."""
        starts, descriptions = self._table
        position = bisect.bisect_right(starts, address) - 1
        if position < 0:
            return None
        start, size = self._description(descriptions[position])
        return (start, size) if start <= address < start + size else None

    @functools.cached_property
    def _table(self) -> tuple[list[int], list[int]]:
        segment = self._image.segment(c.PT_GNU_EH_FRAME)
        if segment is None or segment.memory_size < 12 or segment.memory_size > 1 << 26:
            return [], []
        data = self._image.read(segment.address, segment.memory_size)
        # version 1, a signed 4-byte pointer relative to itself, a 4-byte count, a table relative to the header:
        # the only form that linkers write
        if data[0] != 1 or data[2] != 0x03 or data[3] != 0x3B:
            return [], []
        (count,) = struct.unpack_from("<I", data, 8)
        if 12 + 8 * count > len(data):
            return [], []
        values = struct.unpack_from(f"<{2 * count}i", data, 12)
        base = segment.address
        return [base + value for value in values[::2]], [base + value for value in values[1::2]]

    def _description(self, address: int) -> tuple[int, int]:
        """Return (start, size) of a frame description entry whose pointers are pc-relative and 4 bytes wide."""
        try:
            length, pointer, start, size = struct.unpack("<IiiI", self._image.read(address, 16))
        except NotAnImage:
            return 0, 0
        if length == 0xFFFFFFFF or self._pointer_encoding(address + 4 - pointer) != 0x1B:
            return 0, 0
        return address + 8 + start, size

    @functools.cache  # noqa: B019  the table lives as long as the process that reads it
    def _pointer_encoding(self, entry: int) -> int:
        """Return how the descriptions of a common information entry give their addresses (DW_EH_PE_*)."""
        data = self._image.read(entry, 32)
        if data[9:10] != b"z":
            return 0
        augmentation, _, rest = data[9:].partition(b"\0")
        # code alignment, data alignment, return register, augmentation length: one LEB128 each
        for _ in range(4):
            while rest and rest[0] & 0x80:
                rest = rest[1:]
            rest = rest[1:]
        for letter in augmentation[1:]:
            if not rest:
                return 0
            if letter == ord("R"):
                return rest[0]
            if letter == ord("P"):
                rest = rest[5:] if rest[0] & 0x0F in {0x03, 0x0B} else rest[9:]
            elif letter == ord("L"):
                rest = rest[1:]
            elif letter != ord("S"):
                return 0
        return 0
