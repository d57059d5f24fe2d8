# SPDX-License-Identifier: GPL-2.0-or-later
"""Matching names against what a data file says, in bounded time whatever it says."""

from __future__ import annotations

import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TypeVar

Answer = TypeVar("Answer")


class TooLongError(Exception):
    """The matching used up its share of computing time."""


def match_wildcard(pattern: str, text: str) -> tuple[str, ...] | None:
    """Match the whole text, ``*`` standing for any characters; return what each ``*`` stood for, or None.

    The first ``*`` takes as much as it can, then the second, as in the same regular expression: so pieces
    are looked for from the end, in time that grows with the length of both, not with their powers.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return () if text == pattern else None
    last = rest.pop()
    if not text.startswith(first) or not text.endswith(last) or len(first) + len(last) > len(text):
        return None
    start, end = len(first), len(text) - len(last)
    stood_for: list[str] = []
    for piece in reversed(rest):
        found = text.rfind(piece, start, end)
        if found < 0:
            return None
        stood_for.append(text[found + len(piece) : end])
        end = found
    return (text[start:end], *reversed(stood_for))


class Stopwatch:
    """Computing time that regular expressions may use, all together.

    Python's matcher can run for longer than the universe on 30 characters, but it looks for signals while
    it runs (Modules/_sre/sre_lib.h), so a timer of the process's own computing time ends it. Signals are
    handled in the main thread: elsewhere nothing is matched, and TooLongError raised.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def compile(self, expression: str) -> re.Pattern[str]:
        """Compile an expression; raises re.error for a wrong one, and TooLongError."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._limit(lambda: re.compile(expression))
            except (RecursionError, OverflowError) as error:
                raise re.error(f"it asks too much: {error}") from error

    def search(self, pattern: re.Pattern[str], texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the texts that match, each with what the groups of its first match hold; raises TooLongError."""

        def matches() -> dict[str, tuple[str, ...]]:
            found = ((text, pattern.search(text)) for text in texts)
            return {text: match.groups("") for text, match in found if match}

        return self._limit(matches)

    def _limit(self, work: Callable[[], Answer]) -> Answer:
        def stop(number: int, frame: FrameType | None) -> None:
            raise TooLongError

        if self.left <= 0 or threading.current_thread() is not threading.main_thread():
            raise TooLongError
        before = signal.signal(signal.SIGVTALRM, stop)
        start = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, self.left)
            try:
                return work()
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except TooLongError:
            self.left = 0.0  # the kernel counts in ticks: by the finer clock something may be left
            raise
        finally:
            self.left -= time.process_time() - start
            signal.signal(signal.SIGVTALRM, before)
