# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mapped file an address is in, answered without parsing the whole memory map."""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from host import procfs

if TYPE_CHECKING:
    from ulp.builds import File


class Place(NamedTuple):
    """A mapping of a file."""

    file: File
    start: int
    end: int


class Places:
    """The files of one process."""

    def __init__(self, lines: Sequence[bytes], files: Sequence[File]) -> None:
        """``lines`` are those of /proc/PID/maps, ``files`` what ``Builds`` has found in them."""
        self._lines = lines
        self._files = files
        self._known: dict[File, tuple[Place, ...]] = {}

    def holding(self, address: int) -> Place | None:
        """Return the mapping of a file with a build-id that an address is in."""
        position = bisect.bisect_right(self._files, address, key=lambda file: file.address) - 1
        if position < 0:
            return None
        places = self._mappings(self._files[position])
        return next((place for place in places if place.start <= address < place.end), None)

    def called(self, fits: Callable[[str], bool]) -> Place | None:
        """Return the first mapping of the first file whose path fits, wherever the file is now."""
        for file in self._files:
            if fits(os.fsdecode(file.path).removesuffix(" (deleted)")):
                return self._mappings(file)[0]
        return None

    def _mappings(self, file: File) -> tuple[Place, ...]:
        if file not in self._known:
            device, inode, path = file.identity
            lines = [line for line in self._lines if line.endswith(path)]
            self._known[file] = tuple(
                Place(file, mapping.start, mapping.end)
                for mapping in procfs.parse_maps(b"\n".join(lines))
                if (mapping.device.encode(), mapping.inode) == (device, int(inode))
            )
        return self._known[file]
