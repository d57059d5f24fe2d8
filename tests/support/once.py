# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made once in a test run, for all of its processes, and gone when it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_PLACE = "once"


def directory(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that ``make`` has filled, in whichever process of this run asked for it first.

    What ``make`` raises is raised; the next one who asks tries again.
    """
    base = factory.getbasetemp()
    # a process of pytest-xdist has a directory in that of all
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / _PLACE
    place.mkdir(exist_ok=True)
    made = place / name
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = place / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(made)
    return made


def remove(factory: pytest.TempPathFactory) -> None:
    """Remove all that was made; for the process that outlives the others."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(factory.getbasetemp() / _PLACE, ignore_errors=True)
