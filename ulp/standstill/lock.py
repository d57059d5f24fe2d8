# SPDX-License-Identifier: GPL-2.0-or-later
"""One change of a process at a time: a lock on a directory of it in /proc, which goes with whoever holds it.

The directory is /proc/PID/fd, because only who may look into the process can open it: /proc/PID itself could be locked
by anybody, for ever.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from host import procfs
from ulp.result import Reason, Refusal


@contextmanager
def locked(pid: int, *, timeout: float, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of a process; waits up to ``timeout`` seconds, while nobody has ``cancelled``.

    Raises Refusal (locked, interrupted, process-gone) and PermissionError.
    """
    descriptor = _open(pid)
    try:
        deadline = time.monotonic() + timeout
        pause = 0.001
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Refusal(
                        Reason.LOCKED, f"another ulp has been at work on it for {timeout:g} s"
                    ) from None
                if cancelled():
                    raise Refusal(Reason.INTERRUPTED) from None
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        yield
    finally:
        os.close(descriptor)


def _open(pid: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        try:
            return os.open(f"/proc/{pid}/fd", flags)
        except PermissionError:
            # a main thread that has exited belongs to root (task_dump_owner() in fs/proc/base.c)
            tid = procfs.live_thread(pid)
            if tid in {None, pid}:
                raise
            return os.open(f"/proc/{pid}/task/{tid}/fd", flags)
    except (FileNotFoundError, ProcessLookupError):
        raise Refusal(Reason.PROCESS_GONE) from None
