# SPDX-License-Identifier: GPL-2.0-or-later
"""Which engine changes a process: libpulp where the process has it, so that libpulp's own tool sees the change.

What libpulp cannot do in a process (a container that it does not see, a function that was not compiled for it) is done
from outside all the same. Who has disabled live patching for a process is obeyed, whichever engine is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ulp.engines import Change, EngineName, Settings
from ulp.engines.direct import MAPS_MARK
from ulp.result import Outcome, Reason, Result

if TYPE_CHECKING:
    from ulp.engines.direct.engine import DirectEngine
    from ulp.engines.pulp.engine import PulpEngine

_LIBPULP: Final = b"libpulp.so"

# why libpulp cannot do what can be done from outside
_ONLY_LIBPULP: Final = frozenset(
    {
        Reason.FUNCTION_NOT_PATCHABLE,
        Reason.LIBPULP,
        Reason.LOADING,  # libpulp waits for a moment in which nobody allocates memory
        Reason.NOT_VISIBLE,
        Reason.NO_LIBPULP,
        Reason.SECCOMP,
        Reason.UNSUPPORTED_CONTAINER,
    }
)


def has_libpulp(maps: bytes) -> bool:
    """Say whether a process seems to have libpulp, by its memory map."""
    return _LIBPULP in maps


def may_hold_patches(maps: bytes) -> bool:
    """Say whether a process may hold live patches, by its memory map."""
    return MAPS_MARK in maps or has_libpulp(maps)


class Engines:
    """Both engines; each keeps what it has learned from one process to the next."""

    def __init__(self, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """``cancelled`` is asked between tries; what is under way is finished first."""
        self._cancelled = cancelled

    @cached_property
    def _direct(self) -> DirectEngine:
        from ulp.engines.direct.engine import (
            DirectEngine,
        )  # where all processes preload libpulp, nobody needs it

        return DirectEngine(cancelled=self._cancelled)

    @cached_property
    def _pulp(self) -> PulpEngine:
        from ulp.engines.pulp.engine import PulpEngine  # most machines never need it

        return PulpEngine(cancelled=self._cancelled)

    def change(self, pid: int, change: Change, settings: Settings, maps: bytes) -> Result:
        """Change a process, whose memory map is ``maps``; never raises for what the process is or does."""
        if settings.engine is EngineName.PULP:
            return self._pulp.change(pid, change, settings)
        if not has_libpulp(maps):
            return self._direct.change(pid, change, settings)
        if settings.engine is EngineName.DIRECT:
            disabled = self._pulp.refusal(pid, change)
            return disabled or self._direct.change(pid, change, settings)
        if change.apply is None:
            return self._revert(pid, change, settings, maps)
        result = self._pulp.change(pid, change, settings)
        if result.reason not in _ONLY_LIBPULP:
            return result
        direct = self._direct.change(pid, change, settings)
        if direct.outcome is Outcome.ERROR and result.outcome is Outcome.ERROR:
            return direct._replace(detail=f"{direct.sentence}; and through libpulp: {result.sentence}")
        return direct

    def recover(self, pid: int, engine: EngineName, *, timeout: float) -> bool:
        """Finish what a killed tool has left of an engine's work; says whether there was anything. Raises Refusal."""
        chosen = self._pulp if engine is EngineName.PULP else self._direct
        return chosen.recover(pid, timeout=timeout)

    def _revert(self, pid: int, change: Change, settings: Settings, maps: bytes) -> Result:
        """Take back what either engine has applied; an error of one of them is the answer."""
        result = self._pulp.change(pid, change, settings)
        if result.reason is Reason.DISABLED:
            return result
        if MAPS_MARK not in maps and result.reason is not Reason.NO_LIBPULP:
            return result
        direct = self._direct.change(pid, change, settings)
        if direct.reason is Reason.NOT_APPLIED:
            return result if result.reason is not Reason.NO_LIBPULP else direct
        if result.outcome is not Outcome.SUCCESS:
            return result if result.outcome is Outcome.ERROR else direct
        if direct.outcome is not Outcome.SUCCESS:
            return direct
        return direct._replace(
            reverted=(*direct.reverted, *result.reverted),
            functions=(*direct.functions, *result.functions),
            pause=(direct.pause or 0.0) + (result.pause or 0.0),
        )
