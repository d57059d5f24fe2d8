# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for the end of a transition. The kernel tells nobody when it ends, so it is asked again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from klp import sysfs
from klp.blocking import Blocking, find_blocking
from klp.readiness import Readiness

_PAUSE = 0.1  # seconds between two looks at the transition
_TASKS_EVERY = 0.5  # seconds between two looks at all tasks


class Waited(NamedTuple):
    """What came of it."""

    patches: tuple[str, ...]  # whose transitions were seen, in their order
    ready: bool
    seconds: float


def wait(
    root: str = "/", *, timeout: float | None = None, on_tasks: Callable[[Blocking], None] | None = None
) -> Waited:
    """Return when no transition is going on, or after ``timeout`` seconds.

    ``on_tasks`` is told now and then which tasks are left; without it they are not looked at. Raises what
    Readiness raises, and what find_blocking raises.
    """
    start = time.monotonic()
    patches: dict[str, None] = {}
    next_tasks = start
    while True:
        moving = Readiness(root).moving
        patches.update(dict.fromkeys(moving))
        now = time.monotonic()
        if not moving or (timeout is not None and now - start >= timeout):
            return Waited(tuple(patches), not moving, now - start)
        if on_tasks is not None and now >= next_tasks:
            on_tasks(find_blocking(root, names=False))
            next_tasks = time.monotonic() + _TASKS_EVERY
        left = _PAUSE if timeout is None else start + timeout - time.monotonic()
        time.sleep(max(0.0, min(_PAUSE, left)))


def is_in_use(patch: str, *, root: str = "/") -> bool:
    """Tell whether the kernel knows a live patch that is enabled; the others vanish after their transition."""
    return bool(sysfs.number(os.path.join(sysfs.livepatch_directory(root), patch, "enabled")))
