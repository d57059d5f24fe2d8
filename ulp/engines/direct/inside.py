# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call can be in the middle of when functions change: the old ones, and the code of what is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ulp.engines.direct.functions import Function
from ulp.engines.direct.record import Record
from ulp.process import Process
from ulp.standstill.ranges import Ranges


def ranges(process: Process, *, functions: Iterable[Function], reverted: Iterable[Record]) -> Ranges:
    """Return the code of functions that are diverted, and of live patches that are taken back, by function."""
    found: list[tuple[int, int, str]] = []
    for function in functions:
        # a word that is the function's address itself is a pointer to it, not a call inside of it
        found.append((function.address + 1, max(function.size - 1, 0), function.name))
        found += [(start, size, function.name) for start, size in function.cold]
    for record in reverted:
        found += _code(process, record)
    return Ranges(found)


def _code(process: Process, record: Record) -> Iterator[tuple[int, int, str]]:
    """Yield all code of a live patch: what lies between its functions belongs to one of them, as a cold part does.

    Its data do not count: a pointer to them on a stack is no call.
    """
    items = sorted(record.description.diversions, key=lambda item: item.new)
    for mapping in process.mappings:
        if "x" in mapping.permissions and record.address <= mapping.start < record.description.end:
            here = [item for item in items if mapping.start <= item.new < mapping.end]
            ends = [*(item.new for item in here), mapping.end]
            yield mapping.start, ends[0] - mapping.start, items[0].name
            for item, end in zip(here, ends[1:], strict=True):
                yield item.new + 1, end - item.new - 1, item.name
