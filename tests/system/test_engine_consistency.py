# SPDX-License-Identifier: GPL-2.0-or-later
"""A call that is inside an old function at the stop: finishes there by default, is waited for on request."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from host import procfs
from tests.support.livepatches import OLD, REVERTED, SUCCESS, ULP, live_patch, ten_functions, trigger
from tests.support.targets import Slot, Target, answers_library, caller, program, running

STRICT = "--consistency=strict"


def held_and_answer(*flags: str) -> Path:
    """A container for the function in which a thread can be held, and another one; ``flags`` are the library's."""
    source = """
    long new_held(volatile unsigned long long *inside, volatile unsigned long long *hold);
    long new_held(volatile unsigned long long *inside, volatile unsigned long long *hold) {
        (void)inside;
        while (*hold) __builtin_ia32_pause();
        return 210;
    }
    long new_answer(void) { return 200; }
    """
    return live_patch(
        answers_library(*flags), source, {"held": "new_held", "answer_0": "new_answer"}, name="held1.so"
    )


def coroutine_and_answer() -> Path:
    """The same for the function that a coroutine can be suspended in."""
    source = """
    long new_held_by(void (*yield)(void));
    long new_held_by(void (*yield)(void)) { yield(); return 220; }
    long new_answer(void) { return 200; }
    """
    return live_patch(
        answers_library(), source, {"held_by": "new_held_by", "answer_0": "new_answer"}, name="held_by1.so"
    )


def hold(target: Target) -> None:
    """Let a thread enter the function and stay."""
    target[Slot.HOLD] = 1
    target.until(lambda: target[Slot.INSIDE] == 1, "a call inside")


def release(target: Target, answer: int) -> None:
    """Let it finish; it answers what the code gives that it began in."""
    target[Slot.STAGE] = 0
    target[Slot.HOLD] = 0
    target.until(lambda: target[Slot.STAGE] == answer, f"answer {answer}")
    assert target[Slot.INSIDE] == 0


def test_by_default_a_call_inside_finishes_in_the_old_code() -> None:
    with running(caller(answers_library()), "busy", "sleepers=3") as target:
        hold(target)
        said = trigger(target, held_and_answer())
        assert said.verdict == SUCCESS
        assert [call["function"] for call in said.row["busy"]] == ["held"]
        assert said.row["busy"][0]["thread"] in target.threads()
        assert target.answers() == (200,)
        release(target, 110)
        target[Slot.HOLD] = 1
        time.sleep(0.02)
        release(target, 210)
        assert trigger(target, "--revert", held_and_answer()).verdict == REVERTED
        assert target.answers() == (100,)
        hold(target)
        release(target, 110)


def test_strict_names_who_is_in_the_way_and_changes_nothing() -> None:
    with running(caller(answers_library()), "busy", "sleepers=3") as target:
        hold(target)
        code = target.private_code()
        started = time.monotonic()
        said = trigger(target, STRICT, "--timeout", "1", "-r", "1000", held_and_answer())
        assert 0.5 < time.monotonic() - started < 6
        assert said.verdict == ("ERROR", "stack-busy"), said
        assert said.status != 0
        assert "held" in said.row["detail"]
        assert any(str(thread) in said.row["detail"] for thread in target.threads())
        assert target.private_code() == code
        assert target.answers(10) == OLD
        release(target, 110)
        assert trigger(target, STRICT, held_and_answer()).verdict == SUCCESS
        assert target.answers() == (200,)


def test_strict_sees_a_call_in_a_part_that_the_compiler_has_put_elsewhere() -> None:
    container = held_and_answer("-DCOLD")
    with running(caller(answers_library("-DCOLD")), "busy") as target:
        hold(target)
        said = trigger(target, STRICT, "--timeout", "1", container)
        assert said.verdict == ("ERROR", "stack-busy"), said
        assert [call["function"] for call in said.row["busy"]] == ["held"]
        release(target, 110)
        assert trigger(target, STRICT, container).verdict == SUCCESS


def test_strict_succeeds_once_the_call_has_left_and_lets_the_program_run_meanwhile() -> None:
    with running(caller(answers_library()), "busy") as target:
        hold(target)
        leaves = threading.Timer(0.5, lambda: release(target, 110))
        rounds = target[Slot.ROUNDS]
        leaves.start()
        said = trigger(target, STRICT, "--timeout", "10", "-r", "100000", held_and_answer())
        leaves.join()
        assert said.verdict == SUCCESS, said
        assert not said.row["busy"]
        assert target[Slot.ROUNDS] > rounds + 100
        assert target.answers() == (200,)


def test_strict_revert_waits_for_the_new_function_as_well() -> None:
    with running(caller(answers_library()), "busy") as target:
        assert trigger(target, held_and_answer()).verdict == SUCCESS
        target[Slot.HOLD] = 1
        time.sleep(0.05)  # the thread is in the new function now, a loop without a call
        said = trigger(target, STRICT, "--timeout", "1", "--revert", held_and_answer())
        assert said.verdict == ("ERROR", "stack-busy"), said
        assert target.answers() == (200,)
        release(target, 210)
        assert trigger(target, STRICT, "--revert", held_and_answer()).verdict == REVERTED
        assert target.answers() == (100,)


def test_code_that_a_thread_is_in_stays_mapped_after_a_revert() -> None:
    with running(caller(answers_library()), "busy") as target:
        assert trigger(target, held_and_answer()).verdict == SUCCESS
        target[Slot.HOLD] = 1
        time.sleep(0.05)
        assert trigger(target, "--revert", held_and_answer()).verdict == REVERTED
        for first in (200, 300):  # what cleans up behind a revert must wait until nobody is in there
            assert trigger(target, ten_functions(first)).verdict == SUCCESS
            assert trigger(target, "--revert", ten_functions(first)).verdict == REVERTED
        release(target, 210)
        assert target.answers(10) == OLD


def test_strict_sees_a_suspended_coroutine() -> None:
    """Its stack is memory from malloc, and no thread's stack pointer is near it."""
    with running(program("coroutines")) as target:
        target[Slot.HOLD] = 1
        target.until(lambda: target[Slot.INSIDE] == 1, "a coroutine inside")
        said = trigger(target, STRICT, "--timeout", "1", coroutine_and_answer())
        assert said.verdict == ("ERROR", "stack-busy"), said
        assert target.answers() == (100,)
        release(target, 120)
        assert (
            trigger(target, STRICT, "--timeout", "10", "-r", "100000", coroutine_and_answer()).verdict
            == SUCCESS
        )
        assert target.answers() == (200,)
        assert target[Slot.ERRORS] == 0


def test_strict_on_a_program_that_always_calls_succeeds_between_two_calls() -> None:
    with running(caller(answers_library()), "nap=0") as target:
        said = trigger(target, STRICT, "--timeout", "10", "-r", "100000", ten_functions(200))
        assert said.verdict == SUCCESS, said
        assert target.answers(10) == tuple(range(200, 210))


def test_interrupted_while_it_waits() -> None:
    with running(caller(answers_library()), "busy") as target:
        hold(target)
        with subprocess.Popen(
            [
                ULP,
                "trigger",
                "-p",
                str(target.pid),
                STRICT,
                "--timeout",
                "20",
                "-r",
                "100000",
                held_and_answer(),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting:
            target.until(lambda: procfs.has_children(waiting.pid, waiting.pid), "ulp to be at work")
            time.sleep(0.2)
            waiting.send_signal(2)
            _, errors = waiting.communicate(timeout=5)
            assert waiting.returncode == 130, errors
            assert "Traceback" not in errors
        target.until(lambda: target.tracer() == 0, "no tracer")
        assert target.answers(10) == OLD
        release(target, 110)
