# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL of the tool at any instant: the target goes on, and the next command finds or makes it whole.

ULP_TEST_KILLS sets how many times in all (the default is what the project promises, 500), ULP_TEST_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter

import pytest

from tests.support.livepatches import NEW, OLD, SUCCESS, ULP, Way, change, ten_functions, trigger
from tests.support.strikes import HITS, KILLS, SEED, assert_unharmed, course, masks
from tests.support.targets import program, running
from ulp.tracee import Gone, Thread


@pytest.mark.parametrize("kill", ["tool", "all"])
@pytest.mark.parametrize("do", ["apply", "revert"])
def test_killed_at_any_instant(do: str, kill: str) -> None:
    """Only the command (its helper finishes what it is at, and no wait sees it), or all that works for it."""
    print(f"ULP_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED} {do} {kill}")
    counts: Counter[str] = Counter()
    wanted = max(1, KILLS // 4)
    while counts["hits"] < wanted:
        with course(do, chance=chance, counts=counts) as one:
            for _ in range(min(HITS, wanted - counts["hits"])):
                # half of them anywhere, half in the part in which the target is touched
                first, last = chance.choice([(0.0, 1.1), (0.5, 1.0)])
                one.hit(counts, kill=kill, after=chance.uniform(first, last) * one.span)
    print(f"one change: {one.span * 1000:.1f} ms, {dict(counts)}")
    assert counts["killed"] >= max(1, wanted // 16), f"too few came before the end: {counts}"
    if kill == "tool":
        # a helper that dies between a thread's stop and the mending of its registers leaves that EINTR to it
        assert counts["EINTR"] == 0


@pytest.mark.parametrize("at", ["tool", "group"])
def test_the_command_itself_killed(at: str) -> None:
    """The same with the real command."""
    chance = random.Random(f"{SEED} command {at}")
    container = ten_functions(200)
    with running(program("busy"), "nap=1500") as target:
        target.settle()
        before = masks(target)
        started = time.monotonic()
        assert trigger(target, container).verdict == SUCCESS
        span = time.monotonic() - started
        for _ in range(max(1, min(6, KILLS // 40))):
            words = [] if target.answers(10) == OLD else ["--revert"]
            command = subprocess.Popen(
                [ULP, "trigger", "-p", str(target.pid), f"--engine={Way.engine}", *words, container],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            time.sleep(chance.uniform(0.4, 1.0) * span)
            try:
                if at == "group":
                    os.killpg(command.pid, 9)
                else:
                    command.kill()
            except ProcessLookupError:
                pass
            command.wait(10)
            assert target.is_alive
            assert trigger(target, container).row["outcome"] in ("SUCCESS", "SKIPPED")
            assert target.answers(10) == NEW
            assert_unharmed(target, before)
            if chance.random() < 0.5:
                assert trigger(target, "--revert", container).row["outcome"] == "SUCCESS"
                assert target.answers(10) == OLD


def test_a_thread_that_stays_in_the_injected_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can neither be stopped any more (frozen) nor be let go: the code stays until it has run through."""

    def gone(*_: object) -> None:
        raise Gone

    def not_yet(_: Thread) -> None:
        """It goes on when its tracer ends, as a thread in an uninterruptible wait."""

    container = ten_functions(200)
    with running(program("busy"), "nap=1500") as target:
        target.settle()
        before = masks(target)
        with monkeypatch.context() as patch:
            patch.setattr("ulp.engines.direct.inject._Calls._give_back", gone)
            patch.setattr(Thread, "detach", not_yet)
            assert change(target, container)[0] == "ERROR"
        target.advance()
        assert trigger(target, container).verdict == SUCCESS
        assert target.answers(10) == NEW
        assert_unharmed(target, before)
