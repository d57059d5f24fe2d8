# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the tool off the processors that the processes to be patched run on.

A new process or thread is put where the kernel sees least load at that moment. Its creator is about to wait for it,
so the creator's own processor is the one that becomes free; any other may be one that a target's thread is busy on,
and would be taken from it for a slice of the scheduler (0.7 ms on two processors). So the creator binds itself before
it creates: what is born elsewhere and moves afterwards has taken its slice already.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_sched_getcpu = ctypes.CDLL(None).sched_getcpu


@contextmanager
def staying_here() -> Iterator[Callable[[], None]]:
    """Let a process or thread that is created inside of the block begin on this thread's processor.

    It inherits the binding and has to call what the block gives to be free of it; the creator is at the end.
    """
    allowed = os.sched_getaffinity(0)

    def be_free() -> None:
        _allow(allowed)

    processor = int(_sched_getcpu())
    if processor in allowed and len(allowed) > 1:
        _allow({processor})
    try:
        yield be_free
    finally:
        be_free()


def _allow(processors: set[int]) -> None:
    try:
        os.sched_setaffinity(0, processors)
    except OSError:  # the control group's set has changed meanwhile: then it binds us, not this
        pass
