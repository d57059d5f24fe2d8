# SPDX-License-Identifier: GPL-2.0-or-later
"""A change is invisible to the program: registers, signals, system calls under way, children."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.livepatches import NEW, OLD, REVERTED, SUCCESS, change, ten_functions, trigger
from tests.support.targets import FIRST_ANSWER, FIRST_WAIT, PATIENCE, Slot, Target, program, running, tgkill

WAYS = 22
ROUNDS = 30


def back_and_forth(target: Target, rounds: int) -> None:
    """Apply and revert; each time the answer follows. Without starting the command: many rounds in little time."""
    container = ten_functions(200)
    for _ in range(rounds):
        assert change(target, container) == SUCCESS
        target.until(lambda: target[FIRST_ANSWER] == NEW[0], "the new answer")
        assert change(target, container, revert=True) == REVERTED
        target.until(lambda: target[FIRST_ANSWER] == OLD[0], "the old answer")


@contextmanager
def unchanged_masks(target: Target) -> Iterator[None]:
    """No thread's mask of blocked signals differs afterwards (but for the moments in a handler)."""
    target.settle()
    before = target.masks()
    yield
    target.until(lambda: target.masks() == before, "the masks as they were")


def test_registers_flags_and_red_zone_survive() -> None:
    with running(program("registers"), "integer=2", "vector=0", "nap=0") as target, unchanged_masks(target):
        back_and_forth(target, ROUNDS)
        target.advance(Slot.CHECKS, by=10)
        assert target[Slot.ERRORS] == 0, [target[Slot.DETAIL + word] for word in range(3)]


def test_vector_registers_survive() -> None:
    with running(program("registers"), "integer=0", "vector=2", "nap=0") as target, unchanged_masks(target):
        back_and_forth(target, ROUNDS)
        target.advance(Slot.VECTORS, by=10)
        assert target[Slot.ERRORS] == 0, target.describe()


def test_threads_that_wake_each_other() -> None:
    with running(program("pingpong")) as target:
        with unchanged_masks(target):
            back_and_forth(target, ROUNDS)
        target.advance(Slot.SWAPS, Slot.SENT, by=100)
        assert (target[Slot.ERRORS], target[Slot.INTERRUPTED]) == (0, 0), target.describe()


def test_no_wait_ends_early_or_in_eintr() -> None:
    """22 ways to wait; without a change none of them ever ends in EINTR, so with changes none may."""
    with running(program("waits"), "wait=50") as target:
        with unchanged_masks(target):
            back_and_forth(target, ROUNDS)
        assert _interrupted(target) == [0] * WAYS
        assert target[Slot.ERRORS] == 0, [target[Slot.DETAIL + word] for word in range(3)]
        ended = [target[FIRST_WAIT + 2 * way] for way in range(WAYS)]
        target.until(
            lambda: all(target[FIRST_WAIT + 2 * way] > ended[way] + 1 for way in range(WAYS)),
            "all ways go on",
        )


@pytest.mark.parametrize("words", [(), ("main",)])
def test_children_that_end_meanwhile_interrupt_nobody(words: tuple[str, ...]) -> None:
    """For a thread that is traced the kernel keeps the SIGCHLD that it would drop, and wakes another one with it."""
    with running(program("parent"), *words) as target:
        back_and_forth(target, ROUNDS)
        target.advance(Slot.CHECKS, Slot.SENT, by=10)
        assert target[Slot.INTERRUPTED] == 0


def test_a_signal_still_ends_a_wait() -> None:
    """What the engine does against EINTR must not swallow the one that a handler causes."""
    with running(program("waits"), "wait=300") as target:
        container = ten_functions(200)
        thread = next(iter(sorted(target.threads())[1:]))  # the first way: epoll_wait
        for number in range(1, 11):
            trigger(target, *(("--revert",) if number % 2 == 0 else ()), container)
            before = target[FIRST_WAIT + 1]
            time.sleep(0.02)
            tgkill(target.pid, thread, signal.SIGUSR1)
            target.until(lambda before=before: target[FIRST_WAIT + 1] == before + 1, "EINTR")  # type: ignore[misc]
            target.until(lambda number=number: target[Slot.HANDLED] == number, "the handler")  # type: ignore[misc]


def _interrupted(target: Target) -> list[int]:
    return [target[FIRST_WAIT + 2 * way + 1] for way in range(WAYS)]


@pytest.mark.parametrize("interval", [200, 1000])
@pytest.mark.parametrize("spin", [False, True])
def test_timer_signals_keep_pace(interval: int, *, spin: bool) -> None:
    words = [f"interval={interval}", *(["spin"] if spin else [])]
    with running(program("timers"), *words) as target, unchanged_masks(target):
        target.advance(Slot.HANDLED, by=50)
        back_and_forth(target, ROUNDS)
        target.advance(Slot.HANDLED, Slot.ROUNDS, by=50)
        assert_no_expiration_lost(target, interval)


def assert_no_expiration_lost(target: Target, interval: int) -> None:
    """Every expiration of the timer (``interval`` in µs) is a handler or an overrun of one.

    The timer runs on the processor that armed it last: while that one is late, so are expirations. A lost one stays
    lost.
    """
    end = time.monotonic() + PATIENCE
    while not -30_000 / interval <= (behind := _expirations_behind(target, interval)) <= 3:
        assert time.monotonic() < end, f"{behind:.1f} expirations were lost"
        time.sleep(0.02)


def _expirations_behind(target: Target, interval: int) -> float:
    """How many of the timer's expirations its handler has not counted, at a moment at which the process is stopped."""
    target.signal(signal.SIGSTOP)
    target.until(lambda: "T" in target.threads()[target.pid], "the stop")
    elapsed = (target[Slot.DETAIL + 1] - target[Slot.GAP]) / 1000
    behind = elapsed / interval - target[Slot.HANDLED]
    target.signal(signal.SIGCONT)
    target.advance(Slot.HANDLED, Slot.ROUNDS)
    return behind


def test_queued_signals_all_arrive_once_and_in_order() -> None:
    with running(program("timers"), "interval=1000", "queue") as target:
        back_and_forth(target, ROUNDS)
        target.signal(signal.SIGSTOP)
        target.until(lambda: set(target.threads().values()) == {"T"}, "the stop")
        assert target[Slot.ERRORS] == 0
        # queued and not handled yet: pending at the stop
        target.signal(signal.SIGCONT)
        sent = target[Slot.SENT]
        assert sent > 100
        target.until(lambda: target[Slot.STAGE] >= sent, "every signal")
        assert target[Slot.ERRORS] == 0


def test_handler_on_an_alternate_stack_calls_the_new_function() -> None:
    with running(program("timers"), "interval=200", "spin") as target:
        container = ten_functions(200)
        assert trigger(target, container).verdict == SUCCESS
        target.advance(Slot.HANDLED, by=10)
        assert target[FIRST_ANSWER + 1] == NEW[1]
        assert trigger(target, "--revert", container).verdict == REVERTED
        target.advance(Slot.HANDLED, by=10)
        assert target[FIRST_ANSWER + 1] == OLD[1]


def test_a_spinning_thread_stands_still_for_a_short_time_only() -> None:
    """A sanity bound; the numbers are for the benchmark."""
    with running(program("spinner"), "sleepers=15") as target:
        container = ten_functions(200)
        gaps = []
        for round_ in range(6):
            target[Slot.STAGE] = 1
            target.until(lambda: target[Slot.STAGE] == 2, "a measurement")
            said = trigger(target, *(("--revert",) if round_ % 2 else ()), container)
            assert said.row["outcome"] == "SUCCESS"
            gaps.append(target[Slot.GAP] / 1e9)
            assert said.row["longest_pause"] <= said.row["pause"]
            target[Slot.STAGE] = 0
        assert min(gaps) < 0.05, gaps


def test_nothing_is_left_behind_in_descriptors_or_signals() -> None:
    with running(program("timers"), "interval=0") as target:
        descriptors = sorted(path.name for path in Path(f"/proc/{target.pid}/fd").iterdir())
        status = _signal_lines(target)
        back_and_forth(target, 5)
        assert sorted(path.name for path in Path(f"/proc/{target.pid}/fd").iterdir()) == descriptors
        assert _signal_lines(target) == status


def _signal_lines(target: Target) -> list[str]:
    lines = Path(f"/proc/{target.pid}/status").read_text().splitlines()
    # not SigQ: it counts the queued signals of all processes of the user (proc_pid_status(5)), other tests' too
    wanted = ("SigPnd", "SigBlk", "SigIgn", "SigCgt", "ShdPnd", "Seccomp", "NoNewPrivs")
    return [line for line in lines if line.startswith(wanted)]
