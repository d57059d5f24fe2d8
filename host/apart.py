# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that may hang or crash in a library's code, done in a child process that can be given up.

rpm waits without end for a database that somebody else has locked, and it does that without letting go of the
interpreter: no thread and no signal handler of Python would run meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

Answer = TypeVar("Answer")


class NoAnswerError(Exception):
    """The work did not come to an end; the text says what became of it."""


def call(work: Callable[[], Answer], *, patience: float) -> Answer:
    """Return what ``work`` returns, or raise what it raises; both have to be things that pickle knows.

    Raises NoAnswerError if it takes longer than ``patience`` seconds, or if the child ends without an answer.
    What ``work`` changes in this process's memory stays unknown here.
    """
    import pickle

    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer(work, writing)
    try:
        os.close(writing)
        content = _read(reading, until=time.monotonic() + patience)
        if content is None:
            raise NoAnswerError(f"there was no answer within {patience:g} s")
        if not content:
            raise NoAnswerError("the library that was asked crashed")
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    answer, problem = pickle.loads(content)
    if problem is not None:
        raise problem
    result: Answer = answer
    return result


def _answer(work: Callable[[], Answer], writing: int) -> NoReturn:
    """Do the work in the child, which ends here: nothing that its parent has set up may run a second time."""
    import pickle

    try:
        try:
            content = pickle.dumps((work(), None))
        except BaseException as problem:
            content = pickle.dumps((None, problem))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)
    finally:
        os._exit(0)


def _read(reading: int, *, until: float) -> bytes | None:
    """Return all that is written until the other end is closed; None if that takes too long."""
    content = bytearray()
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while (left := until - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            part = os.read(reading, 1 << 20)
            if not part:
                return bytes(content)
            content += part
    return None
