# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches whose library was unloaded (dlclose(3)) since: the detours went with it, the records stayed.

When the same library comes back, even to the same place, it comes from its file, without detours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from host.procfs import Mapping
from ulp.engines.direct.record import Diversion, Record
from ulp.memory import Memory

_DELETED = " (deleted)"


def lost(
    memory: Memory, active: Sequence[Record], mappings: Callable[[], Iterable[Mapping]]
) -> tuple[Record, ...]:
    """Return those of a process's active records, oldest first, that nothing leads to any more.

    Bytes that are neither a detour nor what was there before it, in the library itself, are somebody else's: such a
    record still counts. ``mappings`` is asked only where no detour is in its place. Raises MemoryGone.
    """
    detours: dict[int, set[bytes]] = {}
    originals: dict[int, bytes] = {}
    for record in active:
        for item in record.description.diversions:
            detours.setdefault(item.address, set()).add(item.after)
            originals.setdefault(item.address, item.before)

    def is_lost(item: Diversion, now: bytes, library: str) -> bool:
        if now == originals[item.address]:
            return True
        mapping = next((m for m in mappings() if m.start <= item.address < m.end), None)
        return mapping is None or mapping.path.removesuffix(_DELETED) != library.removesuffix(_DELETED)

    def is_without_library(record: Record) -> bool:
        places = []
        for item in record.description.diversions:
            now = memory.read_some(item.address, len(item.after))
            if now in detours[item.address]:
                return False
            places.append((item, now))
        return bool(places) and all(is_lost(*place, record.description.library) for place in places)

    return tuple(record for record in active if is_without_library(record))
