# SPDX-License-Identifier: GPL-2.0-or-later
"""The direct engine as the rest of ``ulp`` uses it."""

from __future__ import annotations

from collections.abc import Callable

from ulp.engines import Change, Settings
from ulp.engines.direct import recover
from ulp.engines.direct.change import OneChange
from ulp.image import Image
from ulp.memory import MemoryGone
from ulp.process import Process
from ulp.result import Damaged, Reason, Refusal, Result
from ulp.standstill.lock import locked
from ulp.standstill.stop import Momentary


class DirectEngine:
    """Patches from outside; keeps what it has learned about builds from one process to the next."""

    name = "direct"

    def __init__(self, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """``cancelled`` is asked between tries; what is under way is finished first."""
        self._images: dict[bytes, Image] = {}
        self._cancelled = cancelled

    def change(self, pid: int, change: Change, settings: Settings) -> Result:
        """Change the process, all or nothing; never raises for what the process is or does."""
        return OneChange(self._images, pid, change, settings, self._cancelled).make()

    def recover(self, pid: int, *, timeout: float) -> bool:
        """Finish what a killed tool has left in the process; says whether there was anything. Raises Refusal."""
        with locked(pid, timeout=timeout, cancelled=self._cancelled):
            try:
                with Process(pid, images=self._images) as process:
                    return recover.finish_all(process)
            except (ProcessLookupError, MemoryGone):
                return False
            except Damaged as error:
                raise Refusal(Reason.DAMAGED, str(error)) from error
            except Momentary as error:
                raise Refusal(error.reason, error.detail) from error
