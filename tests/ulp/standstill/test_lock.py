# SPDX-License-Identifier: GPL-2.0-or-later
"""One ulp at a time in a process, and nobody else's business."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.targets import Slot, answers_library, caller, running
from ulp.result import Reason, Refusal
from ulp.standstill.lock import locked

NOBODY = 65534


def never() -> bool:
    return False


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL) as child:
        yield child
        child.kill()


HOLDER = """
import sys, time
from ulp.standstill.lock import locked
with locked(int(sys.argv[1]), timeout=1, cancelled=lambda: False):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Another command that holds the lock of the process."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(process.pid)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_the_second_one_is_refused_when_its_time_is_over(
    process: subprocess.Popen[bytes], holder: subprocess.Popen[bytes]
) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(Refusal, match=r"another ulp has been at work on it for 0\.2 s") as refusal,
        locked(process.pid, timeout=0.2, cancelled=never),
    ):
        pytest.fail("both have the lock")
    assert refusal.value.reason is Reason.LOCKED
    assert 0.2 <= time.monotonic() - begin < 5


def test_the_second_one_waits(process: subprocess.Popen[bytes], holder: subprocess.Popen[bytes]) -> None:
    timer = threading.Timer(0.2, lambda: os.kill(holder.pid, signal.SIGKILL))
    timer.start()
    begin = time.monotonic()
    with locked(process.pid, timeout=20, cancelled=never):
        assert time.monotonic() - begin > 0.15, "the lock goes with its holder, not before"
    timer.join()


def test_a_cancelled_one_waits_no_longer(
    process: subprocess.Popen[bytes], holder: subprocess.Popen[bytes]
) -> None:
    asked = []

    def cancelled() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 3

    with pytest.raises(Refusal) as refusal, locked(process.pid, timeout=60, cancelled=cancelled):
        pytest.fail("both have the lock")
    assert refusal.value.reason is Reason.INTERRUPTED and len(asked) == 4


def test_it_is_given_back(process: subprocess.Popen[bytes]) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with locked(process.pid, timeout=0, cancelled=never):
            pass
        with pytest.raises(KeyError), locked(process.pid, timeout=0, cancelled=never):
            raise KeyError
    assert os.listdir("/proc/self/fd") == before


def test_two_processes_have_two_locks(process: subprocess.Popen[bytes]) -> None:
    with locked(process.pid, timeout=0, cancelled=never), locked(os.getpid(), timeout=0, cancelled=never):
        pass


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(Refusal) as refusal, locked(child.pid, timeout=0, cancelled=never):
        pytest.fail("locked")
    assert refusal.value.reason is Reason.PROCESS_GONE


BLOCK = """
import fcntl, os, sys, time
for name in ("", "/task", "/fd", "/ns", "/map_files", "/net", "/attr", "/stat", "/mem", "/maps", "/status", "/comm"):
    try:
        fcntl.flock(os.open(f"/proc/{sys.argv[1]}{name}", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        continue
print("blocked", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_other_users_cannot_keep_a_process_from_being_patched(process: subprocess.Popen[bytes]) -> None:
    # this module's own interpreter may be where others cannot go
    python = os.path.realpath(sys.executable)
    with subprocess.Popen(
        [python, "-c", BLOCK, str(process.pid)], user=NOBODY, group=NOBODY, stdout=subprocess.PIPE, cwd="/"
    ) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == b"blocked\n"
            with locked(process.pid, timeout=0, cancelled=never):
                pass
        finally:
            other.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_who_may_not_look_into_a_process_may_not_lock_it(process: subprocess.Popen[bytes]) -> None:
    child = os.fork()
    if child == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            with locked(process.pid, timeout=0, cancelled=never):
                os._exit(1)
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_user_may_lock_a_process_whose_main_thread_has_exited() -> None:
    drop = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with running(caller(answers_library()), "main-exits", wrapper=drop) as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "exit of the main thread")
        with locked(target.pid, timeout=0, cancelled=never):  # root
            pass
        child = os.fork()
        if child == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                with locked(target.pid, timeout=0, cancelled=never):
                    descriptor = os.open(f"/proc/{target.pid}/task/{target[Slot.THREAD]}/fd", os.O_RDONLY)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        os._exit(0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
