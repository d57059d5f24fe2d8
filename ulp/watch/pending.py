# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes are to be looked at, and when: soon after an exec, then at longer and longer intervals.

A process that ends before its first look costs nothing but two events; one that has not mapped its libraries yet is
looked at again. All times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

# after the start; a program of few libraries has them within 3 ms, on a busy machine within 100
SCHEDULE: Final = (0.004, 0.012, 0.03, 0.08, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class Entry:
    """One process."""

    since: float
    looks: int = 0
    done: set[bytes] = field(default_factory=set)  # builds that need nothing more
    answer: str = ""  # of the last try that failed
    maps: int = 0  # hash of what was looked at and had nothing in it

    def one_more(self) -> None:
        """Let there be at least one more look."""
        self.looks = min(self.looks, len(SCHEDULE) - 2)


class Pending:
    """The processes that may need a live patch."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._heap: list[tuple[float, int, int]] = []
        self._order = 0
        self._tokens: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def started(self, pid: int, since: float) -> None:
        """A process runs another program now, or has opened a library."""
        self._schedule(pid, Entry(since))

    def forked(self, parent: int, pid: int) -> None:
        """A child has what its parent had: it is looked at like the parent, if that has not been dealt with."""
        entry = self._entries.get(parent)
        if entry is not None:
            self._schedule(pid, Entry(entry.since, entry.looks))

    def opened(self, pid: int, now: float) -> None:
        """A process has opened a library: if it is no new one, it begins anew."""
        if pid not in self._entries:
            self._schedule(pid, Entry(now))

    def ended(self, pid: int) -> None:
        """A process is no more."""
        self._entries.pop(pid, None)
        self._tokens.pop(pid, None)

    def again(self, pid: int, entry: Entry) -> bool:
        """Let a process that is taken be looked at once more; False if it has been looked at often enough."""
        entry.looks += 1
        if entry.looks >= len(SCHEDULE):
            return False
        if pid not in self._entries:  # else: it has started anew meanwhile
            self._schedule(pid, entry)
        return True

    def take(self, now: float) -> dict[int, Entry]:
        """Take out the processes that are to be looked at now."""
        taken: dict[int, Entry] = {}
        while self._heap and self._heap[0][0] <= now:
            _, token, pid = heapq.heappop(self._heap)
            if self._tokens.get(pid) == token:
                taken[pid] = self._entries.pop(pid)
                del self._tokens[pid]
        return taken

    def next(self) -> float | None:
        """Return when the next process is to be looked at; None without any."""
        while self._heap and self._tokens.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Forget all: everybody has been looked at."""
        self.__init__()  # type: ignore[misc]

    def _schedule(self, pid: int, entry: Entry) -> None:
        self._order += 1
        self._entries[pid] = entry
        self._tokens[pid] = self._order
        heapq.heappush(self._heap, (entry.since + SCHEDULE[entry.looks], self._order, pid))
