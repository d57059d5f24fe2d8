# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions by their addresses."""

from __future__ import annotations

import bisect
from collections.abc import Iterable


class Ranges:
    """Address ranges of functions, to ask which one holds an address."""

    def __init__(self, functions: Iterable[tuple[int, int, str]]) -> None:
        """Take (address, size, name) of each; sizes of 0 hold nothing."""
        self._ranges = sorted(functions)
        self._starts = [start for start, _, _ in self._ranges]

    def name_at(self, address: int) -> str | None:
        """Return the name of the function that holds an address."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        start, size, name = self._ranges[position]
        return name if address < start + size else None

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """(start, end) of each range, ascending."""
        return [(start, start + size) for start, size, _ in self._ranges]
