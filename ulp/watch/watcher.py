# SPDX-License-Identifier: GPL-2.0-or-later
"""The watcher: patches processes that start later, as soon as they have mapped a library that has a live patch.

Events are gathered while nothing is due, so that a storm of short processes costs two events each and no wake-up of
its own. What the kernel has no room to tell, and what was missed while nobody watched, is made up for by looking at
all processes once. Nothing depends on memory: a process that holds a live patch already is left as it is.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from host import procfs
from host.errors import Error
from ulp import fleet, surgeon
from ulp.builds import Builds, read_maps
from ulp.engines import Change, Consistency, Settings
from ulp.engines.choice import Engines
from ulp.result import Outcome, Reason, Result
from ulp.watch.births import EXEC, EXIT, FORK, ROOM, Births, Lost
from ulp.watch.opens import Opens
from ulp.watch.pending import Entry, Pending
from ulp.watch.presence import Presence, State
from ulp.watch.supply import Shop

if TYPE_CHECKING:
    from ulp.watch.supply import Supply

# where programs load libraries from, beside what processes have been seen to map
_PLACES: Final = (
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
)
_TIMEOUT: Final = 2.0  # seconds for one process at one look; others wait meanwhile
_LOOKS: Final = 50_000
_BREATH: Final = 0.01  # seconds between two wake-ups
_LONG_BREATH: Final = 0.03  # the same in a storm
_STORM: Final = 16  # events since the last wake-up
_FRESH: Final = (
    0.2  # seconds that what is installed need not be looked at again; a process is looked at for longer
)
# answers that another look will not change
_FINAL: Final = frozenset(
    {
        Reason.ALREADY_APPLIED,
        Reason.EXCLUDED,
        Reason.PROCESS_ONE,
        Reason.PROCESS_GONE,
        Reason.DISABLED,
        Reason.NOTHING_TO_CHANGE,
        Reason.BUILD_ID_MISMATCH,
    }
)


END, SURVEY = b"e", b"s"  # what is written to a watcher's pipe


class Told(NamedTuple):
    """One thing that a watcher has done or found out."""

    word: str  # "watching", "patched", "failed", "problem", "survey"
    sentence: str
    result: Result | None = None
    delay: float | None = (
        None  # seconds from the program's start, or the library's opening, to the end of the patch
    )


def _milliseconds(until: float) -> float:
    """Return how long it is until a moment of CLOCK_MONOTONIC, for poll(2); 0 when it has passed."""
    left = until - time.monotonic()
    return left * 1000 + 0.5 if left > 0 else 0


class Watcher:
    """Watches until it is told to stop."""

    def __init__(
        self, *, presence: Presence, tell: Callable[[Told], None], wake: int, room: int = ROOM
    ) -> None:
        """Begin to listen. Raises Error.

        ``wake`` is the end of a pipe: END tells that the work is to end, SURVEY to look at all processes.
        ``room`` is for events that wait, in bytes.
        """
        self._presence = presence
        self._tell = tell
        self._births = Births(room=room)
        self._opens = Opens()
        self._shop = Shop()
        self._pending = Pending()
        self._builds = Builds()
        self._looks = 0  # that the builds have been used for
        self._engines = Engines(cancelled=surgeon.abandoned)
        self._known: set[bytes] = set()  # live patches whose libraries the engines know
        self._told = False  # what is installed
        self._woken = 0.0
        self._breath = _BREATH
        self._refreshed = 0.0
        self._state = State(pid=os.getpid(), started=time.time())
        self._poll = select.poll()
        self._poll.register(wake, select.POLLIN)
        self._poll.register(self._births, select.POLLIN)
        if self._opens.fileno() >= 0:
            self._poll.register(self._opens, select.POLLIN)
        self._wake = wake
        self._rest = select.poll()
        self._rest.register(wake, select.POLLIN)
        self._whole = True  # all processes are to be looked at

    def run(self) -> None:
        """Work until END can be read; raises Error where nothing can be done any more."""
        self._refresh()
        self._announce(ready=True)
        while not self._is_over():
            if self._whole:
                self._whole = False
                self._survey()
            if self._listen():
                self._look()

    def _is_over(self) -> bool:
        """Wait for something to do; true if the end has come."""
        due = self._pending.next()
        if self._whole:
            ready = self._rest.poll(0)
        else:  # for a moment events are only gathered, so that a storm does not cost a wake-up each
            ready = self._rest.poll(_milliseconds(self._woken + self._breath))
            if not ready:
                ready = self._poll.poll(_milliseconds(due) if due is not None else None)
            self._woken = time.monotonic()
        if all(descriptor != self._wake for descriptor, _ in ready):
            return False
        words = os.read(self._wake, 64)
        self._whole = self._whole or SURVEY in words
        return END in words

    def _listen(self) -> bool:
        """Take in what has happened; false if something is lost, so that all have to be looked at."""
        pending = self._pending
        try:
            events = self._births.read()
            self._breath = _LONG_BREATH if len(events) > _STORM else _BREATH
            for what, pid, parent, when in events:
                if what == EXEC:
                    pending.started(pid, when / 1e9)
                elif what == FORK:
                    pending.forked(parent, pid)
                elif what == EXIT:
                    pending.ended(pid)
            now = time.monotonic()
            for pid in self._opens.read():
                pending.opened(pid, now)
        except Lost:
            self._state = replace(self._state, overruns=self._state.overruns + 1)
            self._whole = True
            self._tell(Told("problem", "the kernel had no room for all events: all processes are looked at"))
        return not self._whole

    def _refresh(self, *, anyway: bool = False) -> None:
        """See what is installed now."""
        now = time.monotonic()
        if not anyway and now < self._refreshed + _FRESH:
            return
        self._refreshed = now
        known = self._shop.supply
        if not self._shop.refresh(anyway=anyway):
            return
        before, supply = self._state.problem, self._shop.supply
        if (supply.problems, supply.containers.keys()) == (
            known.problems,
            known.containers.keys(),
        ) and self._told:
            return
        self._told = True
        usable = not before or supply.usable
        for container in supply.containers.values():
            for place in _PLACES:
                self._opens.watch(os.path.join(place, container.target_name))
        problem = supply.problems[0] if supply.problems else ""
        self._state = replace(self._state, live_patches=len(supply.containers), problem=problem)
        for sentence in supply.problems:
            self._tell(Told("problem", sentence))
        if before and usable and not problem:
            self._whole = True  # who has started meanwhile was not patched
        count = len(supply.containers)
        self._tell(
            Told("watching", f"{count} live patch{'es' if count != 1 else ''} for processes that start")
        )
        self._announce()

    def _announce(self, *, ready: bool = False) -> None:
        self._presence.tell(self._state, ready=ready)

    def _look(self) -> None:
        """Look at the processes that are due."""
        now = time.monotonic()
        taken = self._pending.take(now)
        if not taken:
            return
        self._refresh()
        supply = self._shop.supply
        wanted: dict[int, Entry] = {}
        builds: set[bytes] = set()
        for pid, entry in taken.items():
            found = self._wanted(pid, entry, supply) if supply.containers else set()
            if found:
                wanted[pid] = entry
                builds |= found
            else:
                self._again(pid, entry)
        if wanted:
            self._patch(wanted, builds, supply)

    def _wanted(self, pid: int, entry: Entry, supply: Supply) -> set[bytes]:
        """Return the builds in a process that there are live patches for and that it has not been looked at for."""
        self._looks += 1
        if self._looks % _LOOKS == 0:  # files come and go; what is known of them must not grow for ever
            self._builds = Builds()
        try:
            maps = read_maps(pid)
            seen = hash((maps, id(supply)))
            if seen == entry.maps:
                return set()
            mapped = self._builds.mapped(pid, maps)
        except OSError:
            return set()
        if not mapped.keys() & supply.containers.keys():
            entry.maps = seen
        for build in mapped.keys() & supply.containers.keys():
            self._opens.watch(f"/proc/{pid}/root{os.fsdecode(mapped[build])}")
        return (set(mapped) & supply.containers.keys()) - entry.done

    def _patch(self, wanted: dict[int, Entry], builds: Iterable[bytes], supply: Supply) -> None:
        changes = [Change(apply=supply.containers[build], revert_target=True) for build in sorted(builds)]
        build_of = {
            change.apply.path: change.apply.build_id for change in changes if change.apply is not None
        }
        for change in changes:
            self._learn(change, min(wanted))
        results = self._change(changes, supply, pids=sorted(wanted))
        end = time.monotonic()
        for result in results:
            entry = wanted[result.pid]
            if result.outcome is Outcome.SUCCESS:
                self._succeeded(result, delay=end - entry.since)
                entry.one_more()  # so that children born just before are known when the kernel tells of them
            if result.outcome is Outcome.SUCCESS or result.reason in _FINAL:
                entry.done.add(build_of[result.container])
                entry.answer = ""
            elif result.reason is not Reason.NO_SUCH_LIBRARY:
                entry.answer = result.sentence
        for pid, entry in wanted.items():
            self._again(pid, entry)

    def _learn(self, change: Change, pid: int) -> None:
        """Rehearse a change once: what is learnt in here, and not in a helper, is known the next time."""
        assert change.apply is not None
        if change.apply.patch_id in self._known:
            return
        self._known.add(change.apply.patch_id)
        try:
            self._engines.change(pid, change, Settings(dry_run=True, timeout=_TIMEOUT), read_maps(pid))
        except OSError:  # it has ended
            pass

    def _again(self, pid: int, entry: Entry) -> None:
        if not self._pending.again(pid, entry) and entry.answer:
            self._failed(pid, procfs.name(pid), entry.answer)

    def _survey(self) -> None:
        """Look at all processes once."""
        self._pending.clear()
        self._refresh(anyway=True)
        supply = self._shop.supply
        if not supply.containers:
            return
        changes = [Change(apply=each, revert_target=True) for each in supply.containers.values()]
        results = self._change(changes, supply, pids=None)
        counts = {Outcome.SUCCESS: 0, Outcome.ERROR: 0}
        for result in results:
            if result.library and not result.library.endswith(" (deleted)"):
                self._opens.watch(f"/proc/{result.pid}/root{result.library}")
            if result.outcome is Outcome.SUCCESS:
                self._succeeded(result, delay=None)
            elif result.outcome is Outcome.ERROR:
                self._failed(result.pid, result.name, result.sentence)
            if result.outcome in counts:
                counts[result.outcome] += 1
        done, failed = counts.values()
        self._tell(Told("survey", f"all processes were looked at: {done} patched, {failed} could not be"))
        self._announce()

    def _change(
        self, changes: list[Change], supply: Supply, *, pids: list[int] | None
    ) -> tuple[Result, ...]:
        settings = Settings(
            consistency=Consistency(supply.config.consistency),
            tries=supply.config.tries,
            timeout=_TIMEOUT,
            patch_process_one=supply.config.process_one,
        )
        try:
            return fleet.change(
                changes,
                settings=settings,
                pids=pids,
                exempt=supply.exclusions.process,
                engines=self._engines,
            ).results
        except Error as error:  # a helper was killed: what was begun is finished at the next look
            self._tell(Told("problem", error.sentence))
            self._whole = pids is not None
            return ()

    def _succeeded(self, result: Result, *, delay: float | None) -> None:
        self._state = replace(self._state, patched=self._state.patched + 1)
        self._tell(Told("patched", result.sentence, result=result, delay=delay))
        self._announce()

    def _failed(self, pid: int, name: str, why: str) -> None:
        self._state = replace(self._state, failed=self._state.failed + 1)
        self._tell(Told("failed", f"{name} ({pid}) keeps the old functions: {why}"))
        self._announce()
