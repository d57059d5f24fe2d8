# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches from elsewhere in a target into the first bytes of a function, as a cold part's way back can be one."""

from __future__ import annotations

import bisect
import functools
import weakref
from typing import Final

from ulp import elf_constants as c
from ulp.arch.x86_64_detour import branches_into, branches_to, near_branches, short_branches
from ulp.image import Image

_LONGEST_FUNCTION: Final = 1 << 20
_SHORT_REACH: Final = 130
_SEARCHES: Final = 3  # searches for one function's branches that cost less than a list of all


class _Branches:
    """What looks like a near branch in an image; all are link-time addresses."""

    def __init__(self, image: Image) -> None:
        self._code = [
            (load.address, image.read(load.address, load.file_size))
            for load in image.loads
            if load.flags & c.PF_X
        ]
        self._asked = 0

    @functools.cached_property
    def _all(self) -> list[tuple[int, int]]:
        """(target, place) of every one, ascending."""
        return sorted(
            (address + target, address + place)
            for address, code in self._code
            for place, target in near_branches(code)
        )

    def into(self, targets: range) -> list[int]:
        """Return where something looks like a branch to one of ``targets``."""
        self._asked += 1
        if self._asked <= _SEARCHES:
            return [
                address + place
                for address, code in self._code
                for place in branches_into(code, range(targets.start - address, targets.stop - address))
            ]
        # for many functions it is cheaper to list all branches once
        first = bisect.bisect_left(self._all, (targets.start, 0))
        last = bisect.bisect_left(self._all, (targets.stop, 0))
        return [place for _, place in self._all[first:last]]


_known: weakref.WeakKeyDictionary[Image, _Branches] = weakref.WeakKeyDictionary()


def _branches(image: Image) -> _Branches:
    found = _known.get(image)
    if found is None:
        found = _known[image] = _Branches(image)
    return found


def _short_branches(image: Image, inside: range) -> list[int]:
    """Return where something looks like a short branch to one of the addresses ``inside``."""
    start, end = inside.start - _SHORT_REACH, inside.stop + _SHORT_REACH
    for load in image.loads:
        if load.flags & c.PF_X and load.address <= inside.start < load.address + load.file_size:
            start = max(start, load.address)
            end = min(end, load.address + load.file_size)
    return [
        start + place
        for place, target in short_branches(image.read(start, end - start))
        if start + target in inside
    ]


def entered_from(image: Image, inside: range, *, own: range) -> int | None:
    """Return the address of code outside of a function that branches to one of its addresses ``inside``.

    ``own`` is the function itself; all are link-time addresses. None when there is no such code; what cannot be
    decoded counts. Raises NotAnImage.
    """
    for place in [*_branches(image).into(inside), *_short_branches(image, inside)]:
        if place in own:
            continue
        extent = image.unwind.function_at(place)
        if extent is None or extent[1] > _LONGEST_FUNCTION:
            return place
        start, size = extent
        if branches_to(image.read(start, size), address=start, targets=inside) is not False:
            return start
    return None
