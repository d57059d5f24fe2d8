# SPDX-License-Identifier: GPL-2.0-or-later
"""What the libpulp of a process has noted: its ring of messages, read while the process runs.

The ring holds texts that end with NUL each. A message that warns is two of them: its time and itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from ulp.engines.pulp import abi
from ulp.memory import Unreadable
from ulp.result import Damaged

if TYPE_CHECKING:
    from ulp.engines.pulp.library import Libpulp
    from ulp.memory import Memory

_TRIES: Final = 10
_TIME: Final = re.compile(rb"\[([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})\] ")


class Message(NamedTuple):
    """One line of the ring."""

    time: str  # "2026-11-21 01:09:09" by the process's own clock and time zone; empty for those without
    text: str


def read(memory: Memory, libpulp: Libpulp) -> bytes:
    """Return the contents of the ring, oldest first, with the NULs. Raises Damaged and MemoryGone.

    ``libpulp`` must export abi.MESSAGES.
    """
    ring = libpulp.symbols[abi.MESSAGES]
    try:
        for _ in range(_TRIES):
            state = memory.read(ring + abi.RING_SIZE, abi.RING_LAYOUT.size)
            _, bottom, distance = abi.RING_LAYOUT.unpack(state)
            if bottom >= abi.RING_SIZE or distance > abi.RING_SIZE:
                raise Damaged("the ring of messages has impossible ends")
            first = min(distance, abi.RING_SIZE - bottom)
            text = memory.read(ring + bottom, first) + memory.read(ring, distance - first)
            if memory.read(ring + abi.RING_SIZE, abi.RING_LAYOUT.size) == state:
                return text
    except Unreadable as error:
        raise Damaged(f"the ring of messages cannot be read: {error}") from error
    raise Damaged("the ring of messages changes all the time")


def parse(ring: bytes) -> Iterator[Message]:
    """Yield the messages in the contents of a ring, line by line."""
    time, text = b"", b""
    for piece in ring.split(b"\0"):
        stamp = _TIME.fullmatch(piece)
        if stamp and text:
            yield _message(time, text)
        if stamp:
            time, text = stamp[1], b""
            continue
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            yield _message(time, line)
        if lines:
            time = b""
    if text or time:
        yield _message(time, text)


def _message(time: bytes, text: bytes) -> Message:
    return Message(time.decode("ascii"), text.decode("utf-8", "surrogateescape"))
