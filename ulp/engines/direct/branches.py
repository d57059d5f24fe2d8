# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches between a function and code elsewhere in a target: its cold parts, and what enters its first bytes."""

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
_IMPORT: Final = b"\xff\x25"  # the jump of an entry of a procedure linkage table
_IMPORT_WITHIN: Final = 8  # bytes from its start
_CONDITIONAL: Final = 0x0F  # what a conditional near branch begins with
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


def cold_parts(image: Image, own: range) -> tuple[tuple[int, int], ...]:
    """Return (address, size) of the parts of a function that a compiler has put elsewhere, as unlikely to run.

    A branch leads there: a conditional one, one behind the start of what the unwind tables describe, or one to code
    that leads back. What else a function branches to is another one, called last. All are link-time addresses; what
    cannot be decoded counts. Raises NotAnImage.
    """

    def leads_back(start: int, size: int) -> bool:
        return any(start + end in own[1:] for _, end in near_branches(image.read(start, size)))

    parts = set()
    body = image.read(own.start, len(own)) if own else b""
    for place, target in near_branches(body):
        address = own.start + target
        extent = None if address in own else image.unwind.function_at(address)
        if extent is None or extent[1] > _LONGEST_FUNCTION or _IMPORT in image.read(address, _IMPORT_WITHIN):
            continue
        if body[place] != _CONDITIONAL and extent[0] == address and not leads_back(*extent):
            continue
        # few functions come that far, so they can be decoded
        if branches_to(body, address=own.start, targets=range(address, address + 1)) is not False:
            parts.add(extent)
    return tuple(sorted(parts))
