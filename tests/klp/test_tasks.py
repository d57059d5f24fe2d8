# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of threads, on this machine's own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from klp.blocking import BlockingThread
from klp.stacks import Watch
from klp.symbols import Symbol
from klp.tasks import advice, describe, where

PROC = "/proc"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def look(pid: int, *, commands: bool = True) -> BlockingThread:
    [thread] = describe([BlockingThread(pid, pid)], proc=PROC, commands=commands, watch=None)
    return thread


def test_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    thread = look(sleeper.pid, commands=False)
    assert (thread.command, thread.state, thread.inside) == ((), "", None)
    sleeper.send_signal(signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    thread = look(sleeper.pid)
    assert (thread.name, thread.command, thread.state) == ("sleep", ("sleep", "600"), "T")
    assert not thread.kernel_thread
    assert f"'kill -CONT {sleeper.pid}' lets it go on" in advice(thread)


@pytest.mark.skipif(not Path("/proc/2").exists(), reason="kernel threads are in another PID namespace")
def test_a_thread_of_the_kernel() -> None:
    thread = look(2)
    assert (thread.name, thread.command, thread.kernel_thread) == ("kthreadd", (), True)
    assert "no signal reaches it" in advice(thread)


def test_a_thread_that_has_exited_stays_in_the_list(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    threads = [BlockingThread(pid, pid) for pid in (sleeper.pid, os.getpid())]
    described = describe(threads, proc=PROC, commands=True, watch=Watch())
    gone = next(thread for thread in described if thread.pid == sleeper.pid)
    assert gone == BlockingThread(sleeper.pid, sleeper.pid, inside=())
    assert [thread.pid for thread in described if thread.command] == [os.getpid()]
    assert advice(gone) == ""


def test_what_hangs_keeps_nobody_off_the_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pipe in the place of a command line that nobody writes to, opened so that it is waited for."""
    reading, writing = os.pipe()
    for pid in (1, 2, 3):
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"{pid}/task/{pid}/comm").write_text("name\n")
        (tmp_path / f"{pid}/cmdline").write_bytes(b"word\0")
    (tmp_path / "2/cmdline").unlink()
    (tmp_path / "2/cmdline").symlink_to(f"/dev/fd/{reading}")
    monkeypatch.setattr("klp.sysfs._open", lambda path: os.open(path, os.O_RDONLY))
    try:
        threads = describe(
            [BlockingThread(pid, pid) for pid in (1, 2, 3)], proc=str(tmp_path), commands=True, watch=None
        )
    finally:
        os.close(writing)  # ends the thread that was left behind
        os.close(reading)
    assert [(thread.pid, thread.command) for thread in threads] == [(1, ("word",)), (2, ()), (3, ("word",))]


@pytest.mark.parametrize(
    ("inside", "unpatching", "sentence"),
    [
        (None, False, ""),
        ((), False, "it is in none of the functions"),
        ((Symbol("a", "vmlinux"),), False, "it is in a, which new replaces"),
        ((Symbol("a", "x"), Symbol("b", "old")), False, "it is in a of x and b of old, which new replaces"),
        ((Symbol("new_a", "new"),), True, "it is in new_a of new, which is being taken back"),
    ],
)
def test_where_a_thread_is(inside: tuple[Symbol, ...] | None, unpatching: bool, sentence: str) -> None:
    thread = BlockingThread(1, 1, inside=inside)
    assert where(thread, patch="new", unpatching=unpatching) == sentence


@pytest.mark.parametrize(
    ("state", "says"), [("R", "it runs"), ("S", "every 15 s"), ("D", "no signal"), ("t", "debugger")]
)
def test_what_helps(state: str, says: str) -> None:
    assert says in advice(BlockingThread(1, 1, state=state))
