# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process holds, by its own records; it is not stopped, unless a killed tool left a change to finish."""

from __future__ import annotations

from host import procfs
from ulp.engines import Applied
from ulp.engines.direct import record as records
from ulp.engines.direct.record import Record, State
from ulp.memory import Memory
from ulp.result import Damaged


def applied(pid: int, maps: bytes) -> tuple[tuple[Applied, ...], str]:
    """Return the live patches of a process whose memory map is ``maps``, or why they cannot be told.

    Raises OSError and MemoryGone.
    """
    if records.MAPS_MARK not in maps:
        return (), ""
    # only the lines that matter: they say where the records lie
    mappings = procfs.parse_maps(b"\n".join(line for line in maps.split(b"\n") if records.MAPS_MARK in line))
    try:
        with Memory(pid, tid=procfs.live_thread(pid)) as memory:
            found = records.read_all(memory, mappings)
            if any(record.state is State.CHANGING for record in found):
                problem = _finish(pid)
                if problem:
                    return (), problem
                found = records.read_all(memory, mappings)
    except Damaged as error:
        return (), f"a record of a live patch cannot be read: {error}"
    return tuple(as_applied(record) for record in found if record.state is State.ACTIVE), ""


def _finish(pid: int) -> str:
    """Finish an interrupted change, in a child as every change; returns why that was impossible."""
    from ulp import surgeon  # rarely needed, and with the engine behind it slow to import
    from ulp.engines.direct.engine import DirectEngine
    from ulp.result import Refusal, defect

    def work(pid: int) -> str:
        try:
            DirectEngine(cancelled=surgeon.abandoned).recover(pid, timeout=10.0)
        except Refusal as refusal:
            return str(refusal)
        except Exception as error:  # a defect met in one process must not keep the others from being listed
            return defect(error)
        return ""

    try:
        problem = next((answer for _, answer in surgeon.operate([pid], work)), "")
    except surgeon.SurgeonDied:
        problem = "a helper process of ulp was killed"
    return f"an interrupted change could not be finished: {problem}" if problem else ""


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
