# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own log: its messages, and how long transitions took, which nothing else in the system keeps.

A record of /dev/kmsg is ``PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`` (Documentation/ABI/testing/dev-kmsg). Of a
transition the log has ``livepatch: 'NAME': starting patching transition`` and ``livepatch: 'NAME': patching complete``
(kernel/livepatch/transition.c), with "unpatching" where a live patch is taken back.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass

LOG = "dev/kmsg"
_RECORD = 1 << 13  # bytes: CONSOLE_EXT_LOG_MAX of the kernel, the longest that one read(2) gives
_MOST_RECORDS = 1 << 18
_LARGEST = 1 << 24  # bytes of a saved log
_TRANSITION = re.compile(
    r"livepatch: '(.+)': (?:(starting) (?:un)?patching transition|(?:un)?patching complete)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What the kernel wrote at one moment."""

    microseconds: int  # since it booted
    text: str


def read_log(root: str = "/") -> list[Message]:
    """Return the messages of the kernel itself, the oldest first; raises OSError, and never waits."""
    content = b"".join(_records(os.path.join(root, LOG))).decode(errors="replace")
    messages = []
    for line in content.splitlines():
        head, semicolon, text = line.partition(";")
        priority, _, moment, *_ = [*head.split(","), "", ""]
        # what a process wrote there has another facility than the kernel's, 0
        if semicolon and _number(priority) < 8:
            messages.append(Message(microseconds=max(_number(moment, other=0), 0), text=text))
    return messages


def transition_seconds(patch: str, *, root: str = "/") -> float | None:
    """Return how long the last transition of a live patch took; None if the log, or this user, does not know."""
    began: int | None = None
    took: float | None = None
    try:
        messages = read_log(root)
    except OSError:
        return None
    for message in messages:
        match = _TRANSITION.fullmatch(message.text)
        if match is None or match[1] != patch:
            continue
        if match[2]:
            began, took = message.microseconds, None
        elif began is not None:
            took = (message.microseconds - began) / 1e6
    return took


def _number(text: str, *, other: int = 8) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else other


def _records(path: str) -> list[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
            return [os.read(descriptor, _LARGEST)]
        records: list[bytes] = []
        while len(records) < _MOST_RECORDS:
            try:
                record = os.read(descriptor, _RECORD)
            except BlockingIOError:  # no more for now
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten meanwhile; the next read goes on behind it
                    continue
                raise
            if not record:
                break
            records.append(record)
        return records
    finally:
        os.close(descriptor)
