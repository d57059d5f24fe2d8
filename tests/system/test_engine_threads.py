# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads and children of the target: many, gone, stopped, being born all the time."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.livepatches import (
    ALREADY,
    NEW,
    OLD,
    REVERTED,
    SUCCESS,
    change,
    changes_and_changes_back,
    ten_functions,
    trigger,
)
from tests.support.targets import FIRST_ANSWER, Slot, answers_library, caller, program, running
from ulp.engines.direct import inject


@pytest.mark.parametrize("sleepers", [1, 16, 64, 256])
def test_many_threads(sleepers: int) -> None:
    with running(caller(answers_library()), f"sleepers={sleepers}") as target:
        before = target.threads().keys()
        said = trigger(target, ten_functions(200))
        assert said.verdict == SUCCESS
        assert said.row["threads"] == sleepers + 1
        assert 0 < said.row["longest_pause"] <= said.row["pause"] < 1
        assert target.answers(10) == NEW
        assert target.threads().keys() == before
        assert not set(target.threads().values()) & {"T", "t"}


def test_main_thread_has_exited() -> None:
    with running(caller(answers_library()), "main-exits") as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "the main thread's end")
        changes_and_changes_back(target, ten_functions(200))


def test_stopped_process_stays_stopped() -> None:
    with running(caller(answers_library()), "sleepers=4") as target:
        target.signal(signal.SIGSTOP)
        target.until(lambda: set(target.threads().values()) == {"T"}, "the stop")
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        assert set(target.threads().values()) == {"T"}
        rounds = target[Slot.ROUNDS]
        time.sleep(0.05)
        assert target[Slot.ROUNDS] == rounds
        target.signal(signal.SIGCONT)
        assert target.answers(10) == NEW


def test_stop_signals_in_between_are_not_lost() -> None:
    with running(caller(answers_library()), "sleepers=4") as target:
        for _ in range(10):
            target.signal(signal.SIGSTOP)
            assert change(target, ten_functions(200)) == SUCCESS
            target.until(lambda: set(target.threads().values()) == {"T"}, "the stop")
            target.signal(signal.SIGCONT)
            assert change(target, ten_functions(200), revert=True) == REVERTED
            assert target.answers(10) == OLD


@pytest.mark.parametrize("step", [0, 4])
def test_a_stop_signal_while_memory_is_mapped(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes to the very thread that is led through the mapping, which blocks all signals but this one."""
    with running(caller(answers_library())) as target:
        steps = itertools.count()
        real = inject._Calls._step

        def disturbed(calls: inject._Calls) -> None:
            if next(steps) == step:
                target.signal(signal.SIGSTOP)
            real(calls)

        monkeypatch.setattr(inject._Calls, "_step", disturbed)
        assert change(target, ten_functions(200)) == SUCCESS
        target.until(lambda: set(target.threads().values()) == {"T"}, "the stop")
        target.signal(signal.SIGCONT)
        assert target.answers(10) == NEW


def test_coroutines() -> None:
    with running(program("coroutines")) as target:
        for _ in range(5):
            assert trigger(target, ten_functions(200)).verdict == SUCCESS
            assert target.answers() == NEW[:1]
            assert trigger(target, "--revert", ten_functions(200)).verdict == REVERTED
            assert target.answers() == OLD[:1]
        assert target[Slot.ERRORS] == 0


def test_threads_and_children_come_and_go_all_the_time() -> None:
    with running(program("churn"), "makers=3", "forks", "spawns") as target:
        for _ in range(40):
            assert change(target, ten_functions(200)) == SUCCESS
            assert target.answers() == NEW[:1]
            assert change(target, ten_functions(200), revert=True) == REVERTED
            assert target.answers() == OLD[:1]
        target.advance(Slot.STAGE, Slot.SENT)
        assert target[Slot.ERRORS] == 0, target.describe()
        assert target[Slot.INTERRUPTED] == 0


def test_main_thread_creates_threads_all_the_time() -> None:
    """It is stopped in the midst of clone(2) then, with a result on its way that must not get lost."""
    with running(program("churn"), "makers=0", "itself") as target:
        for _ in range(10):
            assert change(target, ten_functions(200)) == SUCCESS
            assert target.answers() == NEW[:1]
            assert change(target, ten_functions(200), revert=True) == REVERTED
            assert target.answers() == OLD[:1]
        target.advance(Slot.STAGE)
        assert target[Slot.ERRORS] == 0, target.describe()


def test_parent_of_a_vfork_whose_child_sleeps_before_it_executes() -> None:
    with running(program("churn"), "makers=0", "vforks") as target:
        for _ in range(3):
            target.until(lambda: target[Slot.INSIDE] == 1, "a vfork under way")
            target[Slot.GAP] = 0
            said = trigger(target, ten_functions(200))
            assert said.verdict == SUCCESS, said
            assert target[Slot.GAP] < 200_000_000, "the others had to wait for the child"
            assert target.answers() == NEW[:1]
            assert trigger(target, "--revert", ten_functions(200)).verdict == REVERTED
            assert target.answers() == OLD[:1]
        assert target[Slot.ERRORS] == 0, target.describe()


def test_children_inherit_the_live_patch() -> None:
    with running(program("churn"), "makers=0", "forks") as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        target.advance(Slot.SENT, by=5)
        assert target[Slot.ERRORS] == 0  # the children call the function: the new one answers 200


def test_while_the_dynamic_linker_is_at_work_all_the_time() -> None:
    with running(program("churn"), "makers=0", "loads") as target:
        for _ in range(20):
            assert change(target, ten_functions(200)) == SUCCESS
            assert target.answers() == NEW[:1]
            assert change(target, ten_functions(200), revert=True) == REVERTED
            assert target.answers() == OLD[:1]
        target.advance(Slot.HANDLED, by=10)
        assert target[Slot.ERRORS] == 0


def test_a_forked_child_is_a_process_of_its_own() -> None:
    """It inherits the live patch with its record: listed there, reverted there, and the parent is left alone."""
    second = 256  # its half of the board
    with running(caller(answers_library()), "twin") as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        target[Slot.STAGE] = 5
        target.until(lambda: target[second + Slot.READY] == 1, "the child")
        child = target[second + Slot.THREAD]
        target.until(lambda: target[second + FIRST_ANSWER + 9] == NEW[9], "its answers")
        assert trigger(child, ten_functions(200)).verdict == ALREADY
        assert trigger(child, "--revert", ten_functions(200)).verdict == REVERTED
        target.until(lambda: target[second + FIRST_ANSWER] == OLD[0], "the old answers of the child")
        assert target.answers(10) == NEW
        assert trigger(target, "--revert", ten_functions(200)).verdict == REVERTED
        assert trigger(child, ten_functions(300)).verdict == SUCCESS
        target.until(lambda: target[second + FIRST_ANSWER] == 300, "newer answers of the child")
        assert target.answers(10) == OLD


def _freezer() -> Path | None:
    """A control group of version 2 that may be made and frozen, None where that is not possible."""
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        group = Path(mount, f"ulp-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "cgroup.freeze").exists():
            return group
        group.rmdir()
    return None


def test_frozen_process_stays_frozen() -> None:
    group = _freezer()
    if group is None:
        pytest.skip("no control groups of version 2 that this user may make")
    try:
        with running(caller(answers_library()), "sleepers=3") as target:
            (group / "cgroup.procs").write_text(str(target.pid))
            (group / "cgroup.freeze").write_text("1")
            target.until(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "the frost")
            said = trigger(target, "--timeout", "5", ten_functions(200))
            assert said.verdict in (SUCCESS, ("ERROR", "not-running")), said
            rounds = target[Slot.ROUNDS]
            time.sleep(0.05)
            assert target[Slot.ROUNDS] == rounds
            (group / "cgroup.freeze").write_text("0")
            assert target.answers(10) == (NEW if said.verdict == SUCCESS else OLD)
            assert change(target, ten_functions(200)) in (SUCCESS, ALREADY)
            assert target.answers(10) == NEW
    finally:
        (group / "cgroup.freeze").write_text("0")
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.02)
