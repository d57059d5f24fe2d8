# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading from /proc without hanging on a task that hangs.

A task's cmdline needs its mmap lock, its stack and patch_state the lock that execve(2) takes: when a task
sleeps for ever with one of these, so does who reads. The kernel waits killably there (fs/proc/base.c), so
a thread that is stuck in such a read can be left behind, and dies with this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Reader(threading.Thread, Generic[Item, Answer]):
    """Reads one item after the other until it is told that nobody waits for it any more."""

    def __init__(self, read: Callable[[Item], Answer], items: Sequence[Item]) -> None:
        super().__init__(daemon=True)
        self.read = read
        self.items = items
        self.answers: list[Answer] = []
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._abandoned = False

    def run(self) -> None:
        try:
            for item in self.items:
                answer = self.read(item)
                with self._lock:
                    if self._abandoned:
                        return
                    self.answers.append(answer)
        except BaseException as failure:
            self.failure = failure

    def finish(self, patience: float) -> None:
        """Return when everything is read, or when one item takes longer than ``patience`` seconds."""
        while True:
            before = len(self.answers)
            self.join(patience)
            with self._lock:
                if not self.is_alive() or len(self.answers) == before:
                    self._abandoned = True
                    return


def read_each(
    read: Callable[[Item], Answer], items: Sequence[Item], *, patience: float = 1.0
) -> tuple[list[tuple[Item, Answer]], list[Item]]:
    """Call ``read`` with each item, in order; return each with its answer, and those that gave none.

    An item is given up after ``patience`` seconds. What ``read`` raises is raised here.
    """
    answered: list[tuple[Item, Answer]] = []
    silent: list[Item] = []
    while items:
        reader = _Reader(read, items)
        reader.start()
        reader.finish(patience)
        if reader.failure is not None:
            raise reader.failure
        done = len(reader.answers)
        answered.extend(zip(items, reader.answers, strict=False))
        silent.extend(items[done : done + 1])
        items = items[done + 1 :]
    return answered, silent
