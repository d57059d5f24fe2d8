# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions of a target that a container replaces: where each begins and ends, and how it can be diverted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ulp.arch.x86_64_detour import BEFORE, CannotDivert, Site, choose, inside
from ulp.container import Container, Unit
from ulp.engines.direct.branches import cold_parts, entered_from
from ulp.engines.direct.record import Record
from ulp.engines.target import placed, segment_end, size_of
from ulp.memory import Memory, Unreadable
from ulp.process import Loading, Object
from ulp.result import Reason, Refusal

_BEHIND: Final = 32


class Function(NamedTuple):
    """A function of the target, in the process's own addresses."""

    name: str
    new_name: str
    address: int
    size: int
    site: Site
    original: bytes  # the bytes at the site before any live patch
    cold: tuple[tuple[int, int], ...]  # (address, size) of its parts elsewhere


class Text:
    """A process's code as it is, and as it was before the live patches in it."""

    def __init__(self, memory: Memory, active: Iterable[Record]) -> None:
        self._memory = memory
        self._undo = [
            (diversion.address, diversion.before)
            for record in sorted(active, key=lambda record: record.sequence, reverse=True)
            for diversion in record.description.diversions
        ]

    def now(self, address: int, size: int) -> bytes:
        """Return the bytes as they are."""
        return self._memory.read(address, size)

    def original(self, address: int, size: int) -> bytes:
        """Return the bytes as they were before the first live patch."""
        data = bytearray(self._memory.read(address, size))
        for place, before in self._undo:
            for index in range(max(place, address), min(place + len(before), address + size)):
                data[index - address] = before[index - place]
        return bytes(data)


def functions(container: Container, target: Object, text: Text) -> tuple[Function, ...]:
    """Return the functions that a container replaces.

    Raises Refusal naming the one that cannot be diverted, and Loading when the target is unloaded meanwhile.
    """
    found: list[Function] = []
    for unit in container.units:
        unit = placed(unit, target)  # noqa: PLW2901
        size = size_of(unit, target)
        address = target.bias + unit.old_address
        if any(item.address == address and item.new_name == unit.new_name for item in found):
            continue  # another name of the same function
        behind = min(_BEHIND, target.bias + segment_end(unit, target) - (address + size))
        try:
            code = text.original(address - BEFORE, BEFORE + size + max(behind, 0))
            site = choose(code, address=address, size=size)
            _refuse_entered(unit, target, site, size)
            original = text.original(site.address, site.size)
            own = range(unit.old_address, unit.old_address + size)
            cold = tuple((target.bias + start, length) for start, length in cold_parts(target.image, own))
        except Unreadable as error:  # it was unloaded meanwhile
            raise Loading from error
        except CannotDivert as error:
            reason = Reason.FUNCTION_TOO_SHORT if error.too_short else Reason.FUNCTION_NOT_PATCHABLE
            raise Refusal(reason, f"{unit.old_name} cannot be diverted: {error}") from error
        found.append(
            Function(
                name=unit.old_name,
                new_name=unit.new_name,
                address=address,
                size=size,
                site=site,
                original=original,
                cold=cold,
            )
        )
    found.sort(key=lambda function: function.site.address)
    for first, second in zip(found, found[1:], strict=False):
        if first.site.address + first.site.size > second.site.address:
            raise Refusal(
                Reason.FUNCTION_NOT_PATCHABLE,
                f"{first.name} and {second.name} lie at the same place or overlap",
            )
    return tuple(found)


def _refuse_entered(unit: Unit, target: Object, site: Site, size: int) -> None:
    """Raise CannotDivert when code elsewhere in the target enters the function behind its first byte."""
    if not site.pad:
        bytes_inside = inside(site.entry - target.bias, pad=False)
        own = range(unit.old_address, unit.old_address + size)
        source = entered_from(target.image, bytes_inside, own=own)
        if source is not None:
            raise CannotDivert(f"the code at {source:#x} of {target.path} branches into its first bytes")
