# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin waits for the worker, and for nothing else."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from zypp_plugin import channel
from zypp_plugin.channel import Listener, Speaker


@contextmanager
def worker(work: Callable[[Speaker], None], listener: Listener) -> Iterator[None]:
    """Let a child process speak to a listener."""
    pid = os.fork()
    if pid == 0:
        try:
            work(Speaker(listener.address))
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def zypper() -> Iterator[tuple[int, IO[bytes]]]:
    """Both ends of zypper's pipe: what the plugin reads, what zypper holds."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb"), os.fdopen(sink, "wb") as held:
        yield source, held


def wait(
    listener: Listener, zypper: int, *, seconds: float = 10
) -> tuple[str, dict[str, object], list[tuple[int, int]]]:
    steps: list[tuple[int, int]] = []
    word, message = listener.wait(
        until=time.monotonic() + seconds,
        zypper=zypper,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    return word, message, steps


def test_progress_and_the_last_word(zypper: tuple[int, IO[bytes]]) -> None:
    def work(speaker: Speaker) -> None:
        for done in range(50_000):  # far more than a socket holds
            speaker.progress(done, 50_000)
        speaker.finish(line="all is well", mood="good")

    listener = Listener()
    with worker(work, listener):
        time.sleep(0.2)  # libzypp rebuilds its caches
        word, message, steps = wait(listener, zypper[0])
    assert word == "done"
    assert message == {"line": "all is well", "mood": "good"}
    assert steps[0] == (0, 50_000)


def test_a_worker_that_takes_too_long(zypper: tuple[int, IO[bytes]]) -> None:
    listener = Listener()
    with worker(lambda _: time.sleep(60), listener):
        began = time.monotonic()
        assert wait(listener, zypper[0], seconds=0.3)[0] == "working"
        assert 0.2 < time.monotonic() - began < 3


def test_a_worker_that_dies(zypper: tuple[int, IO[bytes]]) -> None:
    listener = Listener()
    with worker(lambda _: os.kill(os.getpid(), signal.SIGKILL), listener):
        assert wait(listener, zypper[0])[0] == "died"


def test_a_worker_that_never_comes(zypper: tuple[int, IO[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_STARTING", 0.2)
    assert wait(Listener(), zypper[0])[0] == "missing"


def test_the_end_of_zypper(zypper: tuple[int, IO[bytes]]) -> None:
    listener = Listener()
    zypper[1].close()
    with worker(lambda _: time.sleep(60), listener):
        assert wait(listener, zypper[0])[0] == "alone"


def test_ctrl_c_ends_the_wait_and_nothing_else(zypper: tuple[int, IO[bytes]]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        listener = Listener()
        with worker(lambda _: time.sleep(60), listener):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            began = time.monotonic()
            assert wait(listener, zypper[0])[0] == "working"
            assert time.monotonic() - began < 5
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_users_are_not_heard(zypper: tuple[int, IO[bytes]]) -> None:
    def intrude(_: Speaker) -> None:
        os.setgid(65534)
        os.setuid(65534)
        Speaker(listener.address).finish(line="give me your money", mood="good")
        time.sleep(60)

    listener = Listener()
    silent = Listener()
    with worker(lambda _: intrude(Speaker("")), silent):
        assert wait(listener, zypper[0], seconds=1)[0] in ("working", "missing")


def test_messages_that_are_none(zypper: tuple[int, IO[bytes]]) -> None:
    listener = Listener()
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(bytes.fromhex(listener.address))
    for message in (b"\xff", b"[1]", b'{"done": "x", "total": 3}', b'{"done": 1}', b'{"line": "end"}'):
        peer.send(message)
    word, message_, steps = wait(listener, zypper[0])
    peer.close()
    assert (word, message_, steps) == ("done", {"line": "end"}, [])


@pytest.mark.parametrize("address", ["", "zz", "00", "00" + b"nobody-listens-here".hex()])
def test_a_worker_without_a_listener_works_all_the_same(address: str) -> None:
    speaker = Speaker(address)
    speaker.progress(1, 2)
    speaker.finish(line="done", mood="good")
