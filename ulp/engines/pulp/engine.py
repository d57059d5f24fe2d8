# SPDX-License-Identifier: GPL-2.0-or-later
"""The pulp engine as the rest of ``ulp`` uses it."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from ulp.engines import Change, Settings
from ulp.engines.pulp import abi, leftover, library, recover
from ulp.engines.pulp.change import PulpChange
from ulp.image import Image
from ulp.memory import MemoryGone, Unreadable
from ulp.process import Process
from ulp.result import Damaged, Reason, Refusal, Result
from ulp.standstill.lock import locked
from ulp.standstill.stop import Momentary

_REST = 0.005  # seconds between two tries


class PulpEngine:
    """Patches processes through the libpulp that they preload."""

    name = "pulp"

    def __init__(self, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """``cancelled`` is asked between tries; what is under way is finished first."""
        self._images: dict[bytes, Image] = {}
        self._cancelled = cancelled

    def change(self, pid: int, change: Change, settings: Settings) -> Result:
        """Change the process, all or nothing; never raises for what the process is or does."""
        return PulpChange(self._images, pid, change, settings, self._cancelled).make()

    def refusal(self, pid: int, change: Change) -> Result | None:
        """Return the answer for a process whose user wants no live patches, None for all others."""
        try:
            with Process(pid, images=self._images) as process:
                libpulp = library.find(process.memory, process.mappings, self._images)
        except (OSError, MemoryGone):
            return None
        if libpulp is None or libpulp.error_state != abi.DISABLED_BY_USER:
            return None
        container = change.apply.path if change.apply is not None else ""
        return Result(pid, process.name, Reason.DISABLED, container=container, engine=self.name)

    def recover(self, pid: int, *, timeout: float) -> bool:
        """Finish what a killed tool has left in the process; says whether there was anything. Raises Refusal."""
        deadline = time.monotonic() + timeout
        with locked(pid, timeout=timeout, cancelled=self._cancelled):
            try:
                with Process(pid, images=self._images) as process:
                    libpulp = library.find(process.memory, process.mappings, self._images)
                    if libpulp is None or not leftover.is_there(process.memory, libpulp):
                        return False
                    while True:
                        try:
                            recover.finish(process, libpulp)
                        except Momentary as error:
                            if time.monotonic() > deadline or self._cancelled():
                                raise Refusal(error.reason, error.detail) from error
                            time.sleep(_REST)
                            process.refresh()
                        else:
                            return True
            except (ProcessLookupError, MemoryGone):
                return False
            except (Damaged, Unreadable) as error:
                raise Refusal(Reason.DAMAGED, str(error)) from error

    def set_patchable(self, pid: int, *, enabled: bool, timeout: float) -> bool:
        """Let a process take live patches through its libpulp, or none; says whether that is new.

        What libpulp's own function for it does is to write one word, so that is written from outside; nothing stops.
        Raises Refusal.
        """
        wanted = 0 if enabled else abi.DISABLED_BY_USER
        try:
            with (
                locked(pid, timeout=timeout, cancelled=self._cancelled),
                Process(pid, images=self._images) as process,
            ):
                libpulp = library.find(process.memory, process.mappings, self._images)
                if libpulp is None or abi.ERROR_STATE not in libpulp.symbols:
                    raise Refusal(Reason.NO_LIBPULP)
                if libpulp.error_state not in {0, abi.DISABLED_BY_USER}:
                    raise Refusal(
                        Reason.LIBPULP, f"its libpulp has failed: {abi.sentence(libpulp.error_state)}"
                    )
                if libpulp.error_state != wanted:
                    process.memory.write(libpulp.symbols[abi.ERROR_STATE], struct.pack("<i", wanted))
                return libpulp.error_state != wanted
        except PermissionError as error:
            raise Refusal(
                Reason.NOT_PERMITTED, f"its memory may not be opened ({error.strerror})"
            ) from error
        except (OSError, MemoryGone, Unreadable) as error:
            raise Refusal(Reason.PROCESS_GONE) from error
