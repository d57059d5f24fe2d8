# SPDX-License-Identifier: GPL-2.0-or-later
"""Many processes: live patching through their libpulp is switched on or off in each of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from host import procfs
from host.errors import Error, ExitStatus
from ulp import surgeon
from ulp.builds import read_maps
from ulp.engines.choice import has_libpulp
from ulp.engines.pulp.engine import PulpEngine
from ulp.hidden import Hidden, hidden
from ulp.result import Reason, Refusal, defect

_TIMEOUT: Final = 30.0  # seconds to wait for another ulp that is at work on the process
_ROUNDS: Final = 20  # of looking for processes that were born meanwhile
# what says of a process that it has nothing to be switched
NOTHING_TO_DO: Final = frozenset({Reason.NO_LIBPULP, Reason.KERNEL_THREAD, Reason.PROCESS_GONE})


class Switched(NamedTuple):
    """What came of it in one process."""

    pid: int
    name: str  # untrusted
    changed: bool = False  # False: it was so before, or ``reason`` says why it is not so
    reason: Reason | None = None
    detail: str = ""

    @property
    def sentence(self) -> str:
        """Why it could not be done, as people read it."""
        return self.detail or (self.reason.sentence if self.reason else "")


def switch(*, enabled: bool, pids: Sequence[int] | None = None) -> tuple[list[Switched], list[Hidden]]:
    """Let processes take live patches, or none; returns what came of it by pid, and who could not be seen.

    Without ``pids`` that is every process except this one. Raises Error where nothing can be done at all.
    """
    found: dict[int, Switched] = {}
    unseen: dict[int, Hidden] = {}
    work = _Work(enabled=enabled)
    for _ in range(_ROUNDS if pids is None else 1):
        everyone = procfs.pids() if pids is None else pids
        fresh: list[Switched] = []
        try:
            chosen = [
                pid for pid in everyone if pid not in found and pid not in unseen and pid != os.getpid()
            ]
            for pid, (visible, answer) in surgeon.operate(chosen, work):
                if visible or pids is not None:
                    fresh.append(answer)
                else:
                    unseen[pid] = Hidden(pid, answer.name)
        except surgeon.SurgeonDied:
            raise Error(
                "a helper process of ulp was killed while it was at work",
                hint="Run the command again.",
                status=ExitStatus.INTERNAL,
            ) from None
        found.update((answer.pid, answer) for answer in fresh)
        # whoever was born of a process before that one was changed is not changed either, and on no list yet
        if not any(answer.changed for answer in fresh):
            break
    return [found[pid] for pid in sorted(found)], [unseen[pid] for pid in sorted(unseen)]


class _Work:
    """What a surgeon does with one process; it lives in the child."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._engine = PulpEngine(cancelled=surgeon.abandoned)

    def __call__(self, pid: int) -> tuple[bool, Switched]:
        """Return whether this user may look at the process, and what came of it."""
        answer = Switched(pid, procfs.name(pid))
        try:
            maps = read_maps(pid)
        except OSError as error:
            if procfs.is_kernel_thread(pid):
                return True, answer._replace(reason=Reason.KERNEL_THREAD)
            if isinstance(error, PermissionError) and hidden(pid) is not None:
                return False, answer._replace(reason=Reason.NOT_PERMITTED)
            return True, answer._replace(reason=Reason.PROCESS_GONE)
        if not has_libpulp(maps):
            kernel = not maps and procfs.is_kernel_thread(pid)
            return True, answer._replace(reason=Reason.KERNEL_THREAD if kernel else Reason.NO_LIBPULP)
        try:
            changed = self._engine.set_patchable(pid, enabled=self._enabled, timeout=_TIMEOUT)
            return True, answer._replace(changed=changed)
        except Refusal as refusal:
            return True, answer._replace(reason=refusal.reason, detail=refusal.detail)
        except Exception as error:  # a defect met in one process must not keep the others from it
            return True, answer._replace(reason=Reason.INTERNAL, detail=defect(error))
