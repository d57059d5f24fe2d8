# SPDX-License-Identifier: GPL-2.0-or-later
"""The live patches that the libpulp of a process has applied: its own list, read while the process runs.

The process may be lying, and another tool may be changing the list: every list is bounded, and what is returned was
read twice with the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ulp.engines.pulp import abi
from ulp.memory import Unreadable
from ulp.result import Damaged

if TYPE_CHECKING:
    from ulp.engines.pulp.library import Libpulp
    from ulp.memory import Memory

_MOST_PATCHES: Final = 1000
_MOST_UNITS: Final = 20_000  # of all patches together; every unit costs a read
_TRIES: Final = 5
_LONGEST_NAME: Final = 4096


class Patch(NamedTuple):
    """One live patch that libpulp has applied."""

    patch_id: bytes  # 32
    library: str  # the target's basename; untrusted as all names here
    container: str  # the path that libpulp has opened, at most 256 bytes of it
    units: tuple[tuple[int, int], ...]  # addresses of the old and the new function
    time: float | None  # seconds since the epoch, None where it is not told


def patches(memory: Memory, libpulp: Libpulp, *, every_unit: bool = True) -> tuple[Patch, ...]:
    """Return the applied live patches, newest first. Raises Damaged and MemoryGone.

    Without ``every_unit`` only the first function of each is read, which says where its library and container are.
    """
    previous: tuple[Patch, ...] | Damaged | None = None
    for _ in range(_TRIES):
        try:
            current = tuple(_read(memory, libpulp, every_unit))
        except Damaged as error:
            previous = error
            continue
        if not current or current == previous:
            return current
        previous = current
    if isinstance(previous, Damaged):
        raise previous
    raise Damaged("it changes all the time")


def _read(memory: Memory, libpulp: Libpulp, every_unit: bool) -> list[Patch]:
    timed = abi.version_number(libpulp.version) >= abi.TIME_SINCE
    layout = abi.PATCH_TIME_LAYOUT if timed else abi.PATCH_LAYOUT
    found: list[Patch] = []
    seen: set[int] = set()
    units_left = _MOST_UNITS
    try:
        _, address = abi.STATE_LAYOUT.unpack(memory.read(libpulp.symbols[abi.STATE], abi.STATE_LAYOUT.size))
        while address:
            if address in seen or len(found) == _MOST_PATCHES:
                raise Damaged("the list of live patches does not end")
            seen.add(address)
            patch_id, library, container, unit, address, _, *time = layout.unpack(
                memory.read(address, layout.size)
            )
            units = _units(memory, unit, units_left if every_unit else None)
            units_left -= len(units)
            found.append(
                Patch(
                    patch_id,
                    _name(memory, library),
                    _name(memory, container),
                    units,
                    float(time[0]) if any(time) else None,
                )
            )
    except Unreadable as error:
        raise Damaged(str(error)) from error
    return found


def _units(memory: Memory, address: int, most: int | None) -> tuple[tuple[int, int], ...]:
    """Return a list of units that has at most so many; None: the first one of any list."""
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    while address:
        if address in seen or len(found) == most:
            raise Damaged("the list of a live patch's functions does not end")
        seen.add(address)
        old, new, _, _, address = abi.UNIT_LAYOUT.unpack(memory.read(address, abi.UNIT_LAYOUT.size))
        found.append((old, new))
        if most is None:
            break
    return tuple(found)


def _name(memory: Memory, address: int) -> str:
    data = memory.read_some(address, _LONGEST_NAME)
    name, end, _ = data.partition(b"\0")
    if not end:
        raise Damaged(f"there is no name at {address:#x}")
    return name.decode("utf-8", "surrogateescape")
