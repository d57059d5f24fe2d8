# SPDX-License-Identifier: GPL-2.0-or-later
"""In which order threads go on, and which of them is borrowed: the kernel's way with ignored signals asks for it."""

from __future__ import annotations

import pytest

from host import procfs
from tests.support.targets import program, running
from ulp.arch import x86_64 as arch
from ulp.engines.direct.inject import _candidates
from ulp.standstill.stop import while_standing
from ulp.standstill.tracing import run_tracing
from ulp.tracee import Thread

EPOLL_WAIT = 232


def test_who_waits_in_epoll_goes_on_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as another thread is traced, a child's end could end its wait."""
    order: list[bool] = []
    detach = Thread.detach

    def noted(thread: Thread) -> None:
        order.append(thread.registers[arch.ORIG_RAX] == EPOLL_WAIT)
        detach(thread)

    monkeypatch.setattr(Thread, "detach", noted)
    with running(program("parent")) as target:
        target.settle()
        run_tracing(lambda: while_standing(target.pid, look=lambda _: None, act=lambda: None))
    waiting = sum(order)
    assert waiting >= 2 and order == [False] * (len(order) - waiting) + [True] * waiting


def test_neither_a_parent_nor_the_main_thread_is_borrowed() -> None:
    with running(program("parent"), "life=100000") as target:
        # in between the parent may have no child, and any of them may run for a moment
        target.until(
            lambda: _candidates(target.pid)[-2] == target.pid, "the main thread to be the last but one"
        )
        assert not procfs.has_children(target.pid, target.pid)
