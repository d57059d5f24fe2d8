# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds words in memory that are addresses in given ranges.

The upper bytes that all addresses of a range share are searched for, which is faster than anything that looks at every
word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

_WORD: Final = 8
_SAME: Final = 5  # the upper bytes that all addresses within 16 MiB share


class AddressSearch:
    """Searches for the addresses in ``ranges`` (start, end)."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        prefixes = {
            (page << 24).to_bytes(_WORD, "little")[-_SAME:]
            for start, end in ranges
            if start < end
            for page in range(start >> 24, (end - 1 >> 24) + 1)
        }
        self._prefixes = sorted(prefixes)

    def words(self, address: int, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield (address, word) of aligned words that are near the ranges, from ``data`` that lies at ``address``."""
        for prefix in self._prefixes:
            at = data.find(prefix, _WORD - _SAME)
            while at >= 0:
                offset = at - (_WORD - _SAME)
                astray = (
                    -(address + offset) % _WORD
                )  # bytes to the next place where the upper bytes of a word are
                if not astray:
                    yield address + offset, int.from_bytes(data[offset : offset + _WORD], "little")
                at = data.find(prefix, at + (astray or _WORD))
