# SPDX-License-Identifier: GPL-2.0-or-later
"""The pulp engine as the rest of ``ulp`` uses it."""

from __future__ import annotations

from collections.abc import Callable

from ulp.engines import Change, Settings
from ulp.engines.pulp.change import PulpChange
from ulp.image import Image
from ulp.result import Result


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
