# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs what traces in a thread of its own.

ptrace belongs to a thread: when that thread ends, the kernel lets everything go that it still held, also what could
not be let go one by one (a thread in an uninterruptible wait answers ESRCH to a detach). So the thread is kept from
one piece of work to the next while nothing is held, and ended as soon as something is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from ulp import tracee
from ulp.processors import staying_here
from ulp.result import Reason, Refusal

Answer = TypeVar("Answer")


class _Tracer:
    """A thread that does work handed to it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._work: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        with staying_here() as be_free:
            self._thread = threading.Thread(target=self._run, args=(be_free,), name="tracing", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # what threading makes of EAGAIN
                raise Refusal(
                    Reason.NOT_PERMITTED, "ulp may start no more threads (see ulimit -u)"
                ) from None

    def _run(self, be_free: Callable[[], None]) -> None:
        be_free()
        while (work := self._work.get()) is not None:
            try:
                self._answers.put((work(), None))
            except BaseException as error:
                self._answers.put((None, error))

    def call(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        self._work.put(work)
        return self._answers.get()

    def end(self) -> None:
        """End the thread, and wait until the kernel has ended it: joined is not gone."""
        self._work.put(None)
        self._thread.join()
        while os.path.exists(f"/proc/self/task/{self._thread.native_id}"):
            time.sleep(0.0001)


_tracer: _Tracer | None = None


def run_tracing(work: Callable[[], Answer]) -> Answer:
    """Call ``work`` in the tracing thread and return its answer, or raise what it raises; without one, Refusal."""
    global _tracer  # noqa: PLW0603  one thread for the whole process, as ptrace has it
    if _tracer is None or _tracer.process != os.getpid():  # a forked child has no threads
        _tracer = _Tracer()
    answer, error = _tracer.call(work)
    if error is not None or tracee.holds_any():
        tracee.forget()
        _tracer.end()
        _tracer = None
    if error is not None:
        raise error
    result: Answer = answer
    return result


def run_apart(work: Callable[[], Answer]) -> Answer:
    """Call ``work`` in a tracing thread that ends with it, and lets go what it still traces.

    Returns or raises what ``work`` does; raises Refusal without a thread.
    """
    tracer = _Tracer()
    try:
        answer, error = tracer.call(work)
    finally:
        tracer.end()
    if error is not None:
        raise error
    result: Answer = answer
    return result
