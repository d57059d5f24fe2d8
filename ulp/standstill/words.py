# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds words in memory that are addresses in given ranges.

The upper bytes that all addresses of a range share are searched for as a literal, which the regular expression engine
does faster than anything that looks at every word.
"""

from __future__ import annotations

import re
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
        self._patterns = [re.compile(re.escape(prefix)) for prefix in sorted(prefixes)]

    def words(self, address: int, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield (address, word) of aligned words that are near the ranges, from ``data`` that lies at ``address``."""
        for pattern in self._patterns:
            for match in pattern.finditer(data):
                offset = match.start() - (_WORD - _SAME)
                if offset >= 0 and (address + offset) % _WORD == 0:
                    yield address + offset, int.from_bytes(data[offset : offset + _WORD], "little")
