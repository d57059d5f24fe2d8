# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mapped file an address is in, answered without parsing the whole memory map."""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from ulp.builds import File

T = TypeVar("T")


class Place(NamedTuple):
    """A mapping of a file."""

    file: File
    start: int
    end: int


class Places:
    """The files of one process."""

    def __init__(self, maps: bytes, files: Sequence[File]) -> None:
        """``maps`` is the text of /proc/PID/maps, ``files`` what ``Builds`` has found in it."""
        self._lines = maps.removesuffix(b"\n").split(b"\n") if maps else []
        self._files = files

    def holding(self, address: int) -> Place | None:
        """Return the mapping of a file with a build-id that an address is in."""
        file = _last_below(self._files, address, key=lambda file: file.address)
        line = _last_below(self._lines, address, key=_start)
        if file is None or line is None:
            return None
        span, _, _, *identity = line.split(None, 5)
        end = int(span.partition(b"-")[2], 16)
        if address >= end or tuple(identity) != file.identity:
            return None
        return Place(file, _start(line), end)

    def called(self, fits: Callable[[str], bool]) -> Place | None:
        """Return the first mapping of the first file whose path fits, wherever the file is now."""
        for file in self._files:
            if fits(os.fsdecode(file.path).removesuffix(" (deleted)")):
                return self.holding(file.address)
        return None


def _start(line: bytes) -> int:
    return int(line.partition(b"-")[0], 16)


def _last_below(items: Sequence[T], address: int, *, key: Callable[[T], int]) -> T | None:
    """Return the item with the highest address up to this one, of items in ascending order."""
    position = bisect.bisect_right(items, address, key=key)
    return items[position - 1] if position else None
