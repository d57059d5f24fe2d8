# SPDX-License-Identifier: GPL-2.0-or-later
"""A free place near a target, for memory that code there must reach with a 32-bit distance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from host.procfs import Mapping
from ulp.arch.x86_64 import DETOUR_REACH, PAGE

# space left to the neighbours on both sides, so that nothing that grows or is merged meets the block
_MARGIN: Final = 16 * PAGE
_LOWEST: Final = 1 << 16  # vm.mmap_min_addr's usual value
_HIGHEST: Final = 0x7FFF_FFFF_F000
# how far the heap may still grow (brk(2)) before it would meet the block
_HEAP_ROOM: Final = 1 << 30


def _gaps(mappings: Sequence[Mapping]) -> Iterable[tuple[int, int]]:
    """Yield (start, end) of what is free and not about to be grown into."""
    end, previous = _LOWEST, ""
    for mapping in mappings:
        if mapping.start > _HIGHEST:
            break
        gap_start = end + (_HEAP_ROOM if previous == "[heap]" else _MARGIN)
        # stacks grow downwards into the gap below them
        if mapping.path != "[stack]" and gap_start < mapping.start - _MARGIN:
            yield gap_start, mapping.start - _MARGIN
        end, previous = max(end, mapping.end), mapping.path


def is_near(start: int, end: int, *, near: tuple[int, int]) -> bool:
    """Say whether a range is within reach of all of ``near`` (start, end)."""
    return near[1] - start <= DETOUR_REACH and end - near[0] <= DETOUR_REACH


def find_place(
    mappings: Sequence[Mapping], *, size: int, near: tuple[int, int], refused: Iterable[int] = ()
) -> int | None:
    """Return the page-aligned start of ``size`` free bytes within reach of all of ``near`` (start, end).

    The nearest place wins; addresses in ``refused`` were tried in vain. None when there is none.
    """
    lowest = max(near[1] - DETOUR_REACH, _LOWEST)
    highest = near[0] + DETOUR_REACH - size
    best: int | None = None
    for start, end in _gaps(mappings):
        first = max(start, lowest)
        last = min(end - size, highest)
        if first > last:
            continue
        # the end of a gap that is nearer to the target
        address = last & -PAGE if last < near[0] else -(-first // PAGE) * PAGE
        if address < first or address > last or address in refused:
            continue
        if best is None or abs(address - near[0]) < abs(best - near[0]):
            best = address
    return best
