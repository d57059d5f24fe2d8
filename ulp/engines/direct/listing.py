# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process holds, by its own records; it is not stopped, unless a killed tool left a change to finish."""

from __future__ import annotations

from host import procfs
from ulp.engines import Applied, EngineName
from ulp.engines.direct import MAPS_MARK
from ulp.engines.direct import record as records
from ulp.engines.direct.presence import lost
from ulp.engines.direct.record import Record, State
from ulp.engines.finishing import finish
from ulp.memory import Memory
from ulp.result import Damaged


def applied(pid: int, maps: bytes) -> tuple[tuple[Applied, ...], str]:
    """Return the live patches of a process whose memory map is ``maps``, or why they cannot be told.

    Raises OSError and MemoryGone.
    """
    # only the lines that matter: they say where the records lie
    mappings = procfs.parse_maps(b"\n".join(line for line in maps.split(b"\n") if MAPS_MARK in line))
    try:
        with Memory(pid, tid=procfs.live_thread(pid)) as memory:
            found = records.read_all(memory, mappings)
            if any(record.state is State.CHANGING for record in found):
                problem = finish(pid, EngineName.DIRECT)
                if problem:
                    return (), problem
                found = records.read_all(memory, mappings)
            active = [record for record in found if record.state is State.ACTIVE]
            unused = lost(memory, active, lambda: procfs.parse_maps(maps))
    except Damaged as error:
        return (), f"a record of a live patch cannot be read: {error}"
    return tuple(as_applied(record) for record in active if record not in unused), ""


def as_applied(record: Record) -> Applied:
    """Return a record as users see it."""
    description = record.description
    return Applied(
        patch_id=description.patch_id,
        container=description.container,
        library=description.library,
        build_id=description.build_id,
        functions=tuple(item.name for item in description.diversions),
        labels=description.labels,
        time=description.time,
        engine="direct",
    )
