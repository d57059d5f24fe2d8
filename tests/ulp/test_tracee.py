# SPDX-License-Identifier: GPL-2.0-or-later
"""ptrace on real threads: stopped, looked at, changed and let go without their noticing."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from host.procfs import live_thread, status, task_state
from tests.support.targets import (
    FIRST_WAIT,
    Slot,
    Target,
    answers_library,
    caller,
    compiled,
    held,
    program,
    running,
    tgkill,
)
from ulp import seccomp, surgeon, tracee
from ulp.arch import x86_64 as arch
from ulp.memory import Memory
from ulp.tracee import Gone, Thread, wait_for_news

Answer = TypeVar("Answer")
WAYS = 22


def as_surgeon(work: Callable[[], Answer]) -> Answer:
    """Do what traces where ulp does it: in a child that holds SIGCHLD back."""

    def careful(_: int) -> tuple[Answer | None, str]:
        try:
            return work(), ""
        except BaseException:
            return None, traceback.format_exc()

    ((_, (answer, problem)),) = surgeon.operate([0], careful)
    if problem:
        pytest.fail(problem)
    return answer  # type: ignore[no-any-return]


def stop(thread: Thread) -> None:
    """Interrupt a thread that is seized, and wait until it stands."""
    thread.interrupt()
    wait(thread)


def wait(thread: Thread) -> None:
    end = time.monotonic() + 10
    while not thread.poll_stopped():
        assert time.monotonic() < end, "it does not stop"
        wait_for_news(0.01)


def standing(tid: int, *, children: bool = False) -> Thread:
    thread = Thread(tid)
    thread.seize(children=children)
    stop(thread)
    return thread


def sleeper(target: Target) -> int:
    """A thread that does nothing but sleep."""
    return next(tid for tid in target.threads() if tid != target.pid)


def test_a_thread_is_stopped_and_let_go() -> None:
    with running(caller(answers_library()), "sleepers=2") as target:

        def work() -> tuple[int, int, str, int]:
            thread = standing(target.pid)
            state = task_state(target.pid, target.pid)
            assert state is not None and tracee.holds_any()
            pc, sp = thread.registers[arch.RIP], thread.registers[arch.RSP]
            assert thread.poll_stopped(), "it stays stopped"
            with Memory(target.pid) as memory:
                assert memory.read(pc, 1) and memory.read(sp, 8)
            thread.detach()
            assert not thread.stopped and not tracee.holds_any()
            return pc, sp, state.state, int(status(target.pid)["TracerPid"])

        pc, sp, state, tracer = as_surgeon(work)
        assert pc and sp and state == "t" and tracer == 0
        target.advance()


def test_registers_that_are_written_back_are_the_same() -> None:
    with running(program("registers"), "nap=0") as target:

        def work() -> None:
            for _ in range(50):
                for tid in target.threads():
                    thread = standing(tid)
                    before = list(thread.registers)
                    thread.write_registers()
                    thread.detach()
                    assert before[arch.RIP]

        as_surgeon(work)
        target.advance(Slot.CHECKS, by=50)
        assert target[Slot.ERRORS] == 0


def interrupted_waits(target: Target, rounds: int) -> int:
    """Stop all threads again and again; gives how many of their waits ended with EINTR."""

    def work() -> None:
        for _ in range(rounds):
            threads = []
            for tid in target.threads():
                thread = Thread(tid)
                thread.seize(children=False)
                threads.append(thread)
            for thread in threads:
                stop(thread)
            for thread in threads:
                thread.detach()
            time.sleep(0.002)

    as_surgeon(work)
    assert target[Slot.ERRORS] == 0, target.describe()
    return sum(target[FIRST_WAIT + 2 * way + 1] for way in range(WAYS))


def test_no_wait_ends_because_of_a_stop() -> None:
    with running(program("waits"), "wait=300") as target:
        time.sleep(0.05)
        assert interrupted_waits(target, 20) == 0


def test_without_mending_waits_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: the kernel does answer EINTR to a stop."""
    monkeypatch.setattr(arch, "mend_interrupted_call", lambda registers: False)
    with running(program("waits"), "wait=300") as target:
        time.sleep(0.05)
        assert interrupted_waits(target, 3) > 3


def test_a_signal_still_ends_a_wait() -> None:
    with running(program("waits"), "wait=300") as target:
        time.sleep(0.05)

        def work() -> None:
            threads = [standing(tid) for tid in target.threads()]
            for thread in threads:
                tgkill(target.pid, thread.tid, signal.SIGUSR1)
            for thread in threads:
                thread.detach()

        as_surgeon(work)
        target.until(
            lambda: sum(target[FIRST_WAIT + 2 * way + 1] for way in range(WAYS)) > 10, "EINTR by a signal"
        )


COUNTER = """
#include "board.h"
static void count(int number) { ADD(HANDLED, 1); }
int main(int count_of, char **words) {
    board_open(count_of, words);
    signal(SIGUSR1, count);
    board_ready();
    for (;;) { ADD(ROUNDS, 1); nap(500); }
}
"""


def test_every_signal_is_delivered_once() -> None:
    with running(compiled(COUNTER)) as target:

        def work() -> tuple[int, int]:
            met = number = 0
            while number < 60 or (not met and number < 2000):
                number += 1
                thread = Thread(target.pid)
                thread.seize(children=False)
                if number % 2:  # before the stop is asked for, or after
                    os.kill(target.pid, signal.SIGUSR1)
                thread.interrupt()
                if not number % 2:
                    os.kill(target.pid, signal.SIGUSR1)
                wait(thread)
                met += thread.signal == signal.SIGUSR1
                thread.detach()
                end = time.monotonic() + 10
                while target[Slot.HANDLED] < number:
                    assert time.monotonic() < end, f"signal {number} is lost"
                    time.sleep(0.0005)
            return met, number

        met, sent = as_surgeon(work)
        assert met, "no stop was that of a signal on its way"
        target.advance()
        assert target[Slot.HANDLED] == sent


def test_a_stopped_process_stays_stopped() -> None:
    with running(caller(answers_library())) as target:
        target.signal(signal.SIGSTOP)
        target.until(lambda: set(target.threads().values()) == {"T"}, "the stop")

        def work() -> int:
            thread = standing(target.pid)
            pending = thread.signal
            thread.detach()
            return pending

        assert as_surgeon(work) == 0
        time.sleep(0.02)
        assert set(target.threads().values()) == {"T"}
        target.signal(signal.SIGCONT)
        target.advance()


def test_whoever_is_gone_is_gone() -> None:
    with running(caller(answers_library()), "sleepers=1") as target:

        def work() -> None:
            thread, other = standing(target.pid), Thread(sleeper(target))
            other.seize(children=False)
            os.kill(target.pid, signal.SIGKILL)
            for each in (thread, other):
                each.stopped = False
                end = time.monotonic() + 10
                with pytest.raises(Gone):
                    while time.monotonic() < end:
                        each.interrupt()
                        each.poll_stopped()
                        each.write_registers()
                each.detach()
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            with pytest.raises(Gone):
                Thread(child).seize(children=False)

        as_surgeon(work)


def test_a_process_that_another_one_traces() -> None:
    with running(caller(answers_library())) as target, held(target.pid):

        def work() -> int | None:
            try:
                Thread(target.pid).seize(children=False)
            except OSError as error:
                return error.errno
            return 0

        assert as_surgeon(work) == errno.EPERM


def test_threads_that_are_born_are_seized() -> None:
    with running(program("churn")) as target:

        def work() -> int:
            born = 0
            end = time.monotonic() + 10
            while born < 3 and time.monotonic() < end:
                for tid in target.threads():
                    thread = Thread(tid)
                    try:
                        thread.seize(children=True)
                        stop(thread)
                    except (Gone, PermissionError):  # it has ended, or is about to
                        continue
                    child, thread.event_child = thread.event_child, 0
                    if child:
                        newborn = Thread(child)
                        wait(newborn)
                        assert newborn.registers[arch.RIP]
                        assert int(status(target.pid, child)["TracerPid"]) == os.getpid()
                        newborn.detach()
                        born += 1
                    thread.detach()
            return born

        assert as_surgeon(work) > 0, "no birth was met"
        target.advance(Slot.STAGE, by=10)
        assert target[Slot.ERRORS] == 0


def test_signal_masks() -> None:
    with running(caller(answers_library()), "sleepers=1") as target:
        target.settle()
        tid = sleeper(target)
        before = target.masks()[tid]

        def work() -> tuple[int, int, str]:
            thread = standing(tid)
            own = thread.signal_mask()
            thread.set_signal_mask((1 << 64) - 1)
            inside = target.masks()[tid]
            full = thread.signal_mask()
            thread.set_signal_mask(own)
            thread.detach()
            return own, full, inside

        own, full, inside = as_surgeon(work)
        assert own == int(before, 16)
        blockable = (1 << 64) - 1 & ~(1 << signal.SIGKILL - 1) & ~(1 << signal.SIGSTOP - 1)
        assert full == blockable == int(inside, 16)
        assert target.masks()[tid] == before


def test_poking_into_code() -> None:
    with running(caller(answers_library())) as target, Memory(target.pid) as memory:
        line = next(line for line in target.maps().splitlines() if "libanswers" in line and "r-xp" in line)
        place = int(line.partition("-")[0], 16) + 0xFF0
        before = memory.read(place, 8)

        def work() -> None:
            thread = standing(target.pid)
            thread.poke(place, b"\x01\x02\x03\x04\x05\x06\x07\xff")
            thread.detach()

        as_surgeon(work)
        assert memory.read(place, 8) == b"\x01\x02\x03\x04\x05\x06\x07\xff"
        memory.write(place, before)


def test_system_calls_step_by_step() -> None:
    with running(caller(answers_library())) as target:

        def work() -> list[tuple[int, int]]:
            thread = standing(target.pid)
            seen = []
            for _ in range(6):
                thread.resume_to_system_call()
                assert not thread.stopped
                wait(thread)
                assert thread.at_system_call
                seen.append((thread.registers[arch.ORIG_RAX], arch.result(thread.registers)))
            thread.detach()
            return seen

        seen = as_surgeon(work)
        assert {number for number, _ in seen} & {35, 230}, "nanosleep or clock_nanosleep"
        entries = [result for _, result in seen if result == -errno.ENOSYS]
        assert len(entries) == 3, "each call stops at its entry and at its exit"
        target.advance()


def test_the_area_of_restartable_sequences() -> None:
    with running(caller(answers_library())) as target, Memory(target.pid) as memory:

        def work() -> int:
            thread = standing(target.pid)
            area = thread.rseq_area()
            thread.detach()
            return area

        area = as_surgeon(work)
        if area:  # glibc registers one from 2.35 on; its first word is the processor
            (processor,) = struct.unpack("<I", memory.read(area, 4))
            assert processor < (os.cpu_count() or 1) * 64


def test_seccomp_filters() -> None:
    def filters(pid: int) -> list[bytes]:
        def work() -> list[bytes]:
            thread = standing(pid)
            found = thread.seccomp_filters()
            thread.detach()
            return found

        return as_surgeon(work)

    with (
        running(caller(answers_library())) as target,
        pytest.raises(pytest.fail.Exception, match="Invalid argument"),
    ):
        filters(target.pid)  # ptrace(2): EINVAL where there is none
    with running(caller(answers_library()), "seccomp-allow", "seccomp-memfd-errno") as target:
        found = filters(target.pid)
        assert len(found) == 2 and all(len(each) == 48 for each in found)
        for number, expected in (
            (319, 0x00050000),
            (169, 0x00050000),
            (0, seccomp.ALLOW),
        ):  # memfd_create, reboot
            judged = seccomp.verdict(
                found, number=number, architecture=arch.AUDIT_ARCHITECTURE, pc=0, arguments=(0, 0, 1 << 20)
            )
            assert judged == expected
        # oldest first
        assert [b"\x3f\x01" in each for each in found] == [False, True]


def test_a_main_thread_that_has_exited() -> None:
    with running(caller(answers_library()), "main-exits") as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "exit of the main thread")
        tid = live_thread(target.pid)
        assert tid is not None

        def work() -> int:
            thread = standing(tid)
            thread.detach()
            return int(thread.registers[arch.RIP])

        assert as_surgeon(work)
        assert Path(f"/proc/{target.pid}/task/{tid}").exists()
        target.advance()
