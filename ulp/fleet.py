# SPDX-License-Identifier: GPL-2.0-or-later
"""Many processes: which of them a change concerns, and the change in each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from host import procfs
from host.errors import Error, ExitStatus
from ulp import surgeon
from ulp.builds import Builds, read_maps
from ulp.engines import Change, Settings
from ulp.engines.choice import Engines, may_hold_patches
from ulp.hidden import Hidden, hidden
from ulp.result import Outcome, Reason, Result, defect

_ROUNDS: Final = 20  # of looking for processes that were born meanwhile


class Survey(NamedTuple):
    """What came of changes in many processes."""

    results: tuple[Result, ...]  # ordered by pid, then by order of changes
    looked_at: int  # processes that could be inspected
    unseen: tuple[Hidden, ...] = ()  # processes that this user may not look at


def _selectable(settings: Settings) -> list[int]:
    """Return the processes that are meant when none is named."""
    own = {os.getpid(), *(() if settings.patch_process_one else (1,))}
    return [pid for pid in procfs.pids() if pid not in own]


def change(
    changes: Sequence[Change],
    *,
    settings: Settings,
    pids: Sequence[int] | None = None,
    exempt: Callable[[int], str] | None = None,
    engines: Engines | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Make changes, each in a stop of its own, in the processes that they concern.

    Without ``pids`` that is every process except this one, kernel threads and, unless configured, process 1.
    ``exempt`` says of a process that is concerned why it is to be left out, "" if it is not; it must not raise.
    ``engines`` that have changed or rehearsed before know libraries already. ``on_progress`` is told how many of how
    many processes are done. Raises Error where nothing can be done at all.
    """
    results: dict[int, list[Result]] = {}
    unseen: dict[int, Hidden] = {}
    done = 0
    engines = engines or Engines(cancelled=surgeon.abandoned)
    work = _Work(changes, settings, named=pids is not None, exempt=exempt, engines=engines)
    chosen = list(pids) if pids is not None else _selectable(settings)
    for _ in range(_ROUNDS):
        total = done + len(chosen)
        fresh: dict[int, list[Result]] = {}
        try:
            for pid, answer in surgeon.operate(chosen, work):
                done += 1
                if isinstance(answer, Hidden):
                    unseen[pid] = answer
                else:
                    fresh[pid] = answer
                if on_progress is not None:
                    on_progress(done, total)
        except surgeon.SurgeonDied:
            raise Error(
                "a helper process of ulp was killed while it changed processes",
                hint="Run the command again: what was begun is finished, what was not is done.",
                status=ExitStatus.INTERNAL,
            ) from None
        results.update(fresh)
        # whoever was born of a process before that one was changed is not changed either, and on no list yet
        if pids is not None or not any(
            r.outcome is Outcome.SUCCESS for found in fresh.values() for r in found
        ):
            break
        chosen = [pid for pid in _selectable(settings) if pid not in results and pid not in unseen]
        if not chosen:
            break
    return Survey(
        results=tuple(result for pid in sorted(results) for result in results[pid]),
        looked_at=len(results),
        unseen=tuple(unseen[pid] for pid in sorted(unseen)),
    )


class _Work:
    """What a surgeon does with one process; it lives in the child."""

    def __init__(
        self,
        changes: Sequence[Change],
        settings: Settings,
        *,
        named: bool,
        exempt: Callable[[int], str] | None,
        engines: Engines,
    ) -> None:
        self._changes = changes
        self._settings = settings
        self._named = named
        self._exempt = exempt
        self._engines = engines
        self._builds = Builds()
        self._wanted = {change.apply.build_id for change in changes if change.apply is not None}

    def __call__(self, pid: int) -> list[Result] | Hidden:
        """Return the results, or a process that this user may not look at."""
        try:
            return self._look(pid)
        except Exception as error:  # a defect met in one process must not keep the others from their patch
            return [result._replace(detail=defect(error)) for result in self._all(pid, Reason.INTERNAL)]

    def _look(self, pid: int) -> list[Result] | Hidden:
        if pid == 1 and not self._settings.patch_process_one:
            return self._all(pid, Reason.PROCESS_ONE)
        builds: dict[bytes, bytes] = {}
        try:
            maps = read_maps(pid)
            # what the process surely does not hold is answered without a closer look
            if maps and self._wanted:
                builds = self._builds.mapped(pid, maps)
        except PermissionError:
            found = hidden(pid)
            if found is not None:
                return self._all(pid, Reason.NOT_PERMITTED) if self._named else found
            maps = b""
        except OSError:
            maps = b""
        if not maps:
            return self._all(
                pid, Reason.KERNEL_THREAD if procfs.is_kernel_thread(pid) else Reason.PROCESS_GONE
            )
        return [self._one(pid, change, maps, builds) for change in self._changes]

    def _all(self, pid: int, reason: Reason) -> list[Result]:
        return [self._answer(pid, change, reason) for change in self._changes]

    def _one(self, pid: int, change: Change, maps: bytes, builds: dict[bytes, bytes]) -> Result:
        concerned = may_hold_patches(maps) if change.apply is None else change.apply.build_id in builds
        if not concerned and change.apply is None:
            return self._answer(pid, change, Reason.NOT_APPLIED)
        if not concerned and change.apply is not None and not self._named:
            name = change.apply.target_name.encode()
            other = any(path.removesuffix(b" (deleted)").endswith(b"/" + name) for path in builds.values())
            if not other and b".so" in maps:
                return self._answer(pid, change, Reason.NO_SUCH_LIBRARY)
        why = self._exempt(pid) if self._exempt is not None else ""
        if why:
            return self._answer(pid, change, Reason.EXCLUDED)._replace(detail=why)
        return self._engines.change(pid, change, self._settings, maps)

    @staticmethod
    def _answer(pid: int, change: Change, reason: Reason) -> Result:
        container = change.apply.path if change.apply is not None else ""
        return Result(pid=pid, name=procfs.name(pid), reason=reason, container=container)
