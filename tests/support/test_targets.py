# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets run, and their self-checks see what they are there to see."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from host import procfs
from tests.support.targets import (
    FIRST_WAIT,
    Slot,
    Target,
    answers_library,
    caller,
    compiled,
    disturb,
    held,
    program,
    running,
    tgkill,
)

OLD = tuple(range(100, 110))


def _worker(target: Target) -> int:
    """The one thread of the register checker that is not the main one."""
    return max(target.threads())


def _until_seen(target: Target, kind: str, thread: int, place: int) -> None:
    """Disturb until the self-check notices: what hits the code between two rounds has no effect."""
    for _ in range(20):
        disturb(kind, thread, place)
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            if target[Slot.ERRORS]:
                return
            assert target.is_alive
            time.sleep(0.001)
    raise AssertionError(f"{kind} {place} was changed and nobody noticed")


def test_caller_answers() -> None:
    with running(caller(answers_library())) as target:
        assert target.answers(10) == OLD
        assert target.tracer() == 0
    assert not target.is_alive


def _group(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0


def test_everything_that_a_target_started_ends_with_it() -> None:
    with running(program("churn"), "forks", "spawns", "vforks") as target:
        target.advance(Slot.STAGE, Slot.SENT, by=20)
        assert target[Slot.ERRORS] == 0 and target[Slot.INTERRUPTED] == 0
        pid = target.pid
    assert target.process.returncode == -signal.SIGKILL
    left = [
        task for each in procfs.pids() if _group(each) == pid and (task := procfs.task_state(each, each))
    ]
    assert {task.state for task in left} <= {"Z", "X"}  # dead, for whoever reaps orphans here


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 7, 9, 10, 12, 13, 14])
def test_register_check_sees_one_changed_register(place: int) -> None:
    # the order of user_regs_struct: r15 r14 r13 r12 rbp rbx ... (11, rcx, counts down in the loop)
    with running(program("registers"), "integer=1", "vector=0", "nap=0") as target:
        target.advance(Slot.CHECKS)
        assert target[Slot.ERRORS] == 0
        _until_seen(target, "register", _worker(target), place)


@pytest.mark.parametrize("offset", [-1, -64, -128])
def test_register_check_sees_a_changed_red_zone(offset: int) -> None:
    with running(program("registers"), "integer=1", "vector=0", "nap=0") as target:
        _until_seen(target, "memory", _worker(target), offset)


@pytest.mark.parametrize("offset", [24, 170, 300, 160 + 15 * 16, 580])
def test_vector_check_sees_a_changed_byte(offset: int) -> None:
    # in the XSAVE area: MXCSR, xmm0, xmm8, xmm15, the high half of a ymm (Intel SDM, volume 1, chapter 13)
    with running(program("registers"), "integer=0", "vector=1", "nap=0") as target:
        target.advance(Slot.VECTORS)
        assert target[Slot.ERRORS] == 0
        if offset > 512 and target[Slot.WIDTH] < 32:
            pytest.skip("this processor has no AVX")
        _until_seen(target, "vector", _worker(target), offset)


def test_pingpong_and_coroutines_are_clean() -> None:
    with running(program("pingpong")) as target:
        target.advance(Slot.SWAPS, Slot.SENT, by=200)
        assert (target[Slot.ERRORS], target[Slot.INTERRUPTED]) == (0, 0)
    with running(program("coroutines")) as target:
        target.advance(by=20)
        target[Slot.HOLD] = 1
        target.until(lambda: target[Slot.INSIDE] == 1, "a coroutine inside")
        target[Slot.HOLD] = 0
        target.until(lambda: target[Slot.STAGE] == 120, "its answer")
        assert target[Slot.ERRORS] == 0


def test_waits_end_in_time_and_see_a_signal() -> None:
    with running(program("waits"), "wait=20") as target:
        time.sleep(0.3)
        waits = {way: (target[FIRST_WAIT + 2 * way], target[FIRST_WAIT + 2 * way + 1]) for way in range(21)}
        assert all(count >= 2 and interrupted == 0 for count, interrupted in waits.values()), waits
        assert target[Slot.ERRORS] == 0, target.describe()
        for thread in target.threads():
            tgkill(target.pid, thread, signal.SIGUSR1)
        target.until(
            lambda: sum(target[FIRST_WAIT + 2 * way + 1] for way in range(21)) > 10, "EINTR by a signal"
        )


def test_signals_are_counted_exactly() -> None:
    with running(program("timers"), "interval=1000", "queue") as target:
        target.advance(Slot.HANDLED, Slot.STAGE, by=100)
        target.advance()
        assert target[Slot.ERRORS] == 0
        elapsed = target[Slot.DETAIL + 1] - target[Slot.GAP]
        assert abs(target[Slot.HANDLED] - elapsed / 1e6) < 20


def test_spinner_measures_a_pause() -> None:
    with running(program("spinner"), "sleepers=4") as target:
        target[Slot.STAGE] = 1
        target.until(lambda: target[Slot.STAGE] == 2, "a measurement")
        target.signal(signal.SIGSTOP)
        time.sleep(0.05)
        target.signal(signal.SIGCONT)
        target.until(lambda: target[Slot.GAP] >= 45_000_000, "a gap")


@pytest.mark.parametrize(
    "condition",
    ["mdwe", "undumpable", "seccomp-allow", "seccomp-memfd-errno", "seccomp-exec-kill", "seccomp-memfd-kill",
     "seccomp-mmap-trap", "seccomp-mask-kill", "memory-limit", "main-exits"],
)  # fmt: skip
def test_conditions_let_the_program_itself_run(condition: str) -> None:
    with running(caller(answers_library()), condition) as target:
        assert target.answers(10) == OLD


def test_strict_seccomp_without_any_system_call() -> None:
    with running(caller(answers_library()), "seccomp-strict", "nap=0") as target:
        assert target.answers(10) == OLD


def test_a_held_process_has_a_tracer() -> None:
    with running(caller(answers_library())) as target, held(target.pid) as tracer:
        assert target.tracer() == tracer
        assert target.answers(10) == OLD


def test_compiled_twice_is_one_file() -> None:
    assert compiled("hand.c") == compiled("hand.c")
