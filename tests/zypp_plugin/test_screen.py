# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose terminal is written to, and whose is not."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zypp_plugin.screen import open_screen, wants_silence


@contextmanager
def process(tmp_path: Path, name: str, *words: str, output: int, thread: str = "") -> Iterator[int]:
    """Start a process with this name and these words, that writes to a descriptor; gives its pid.

    ``thread`` is what it calls its main thread (its comm, proc(5)), the same unless given.
    """
    program = tmp_path / name
    shutil.copy("/bin/sh", program)
    script = f"printf %s {thread} > /proc/self/comm; read line" if thread else "read line"
    started = subprocess.Popen(
        [program, "-c", script, *words], stdin=subprocess.PIPE, stdout=output, start_new_session=True
    )
    patience = time.monotonic() + 10
    try:
        place = Path("/proc", str(started.pid))
        # execve(2) gives a process its name a moment before its words
        while (place / "comm").read_text() != f"{thread or name}\n" or not (place / "cmdline").read_bytes():
            assert time.monotonic() < patience
            time.sleep(0.001)
        yield started.pid
    finally:
        started.communicate(b"\n")


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the end that shows, and the end that programs write to."""
    ends = pty.openpty()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def read(shown: int, until: bytes) -> bytes:
    """Return what a terminal shows, up to these bytes."""
    text = b""
    while until not in text:
        text += os.read(shown, 4096)
    return text


def test_zyppers_terminal_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal() as (shown, written), process(tmp_path, "zypper", output=written) as pid:
        screen = open_screen(pid)
        assert screen
        screen.progress(3, 9)
        screen.line("Live patching: an \x1b[31mevil\x1b[0m name", mood="good")
        text = read(shown, b"name\r")
    assert b"3 of 9 processes" in text
    assert b"\r\x1b[K\x1b[32;1mLive patching\x1b[0m: an \\x1b[31mevil\\x1b[0m name\r" in text


def test_zypper_is_known_whatever_it_calls_its_thread(tmp_path: Path) -> None:
    with terminal() as (shown, written):
        with process(tmp_path, "zypper", output=written, thread="Zypp-main") as pid:
            screen = open_screen(pid)
        assert screen
        screen.line("Live patching: done", mood="")
        assert read(shown, b"done\r")


def test_no_colours_where_they_are_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal() as (shown, written), process(tmp_path, "zypper", output=written) as pid:
        screen = open_screen(pid)
        assert screen
        screen.progress(1, 2)
        screen.line("Live patching: done", mood="bad")
        assert b"\x1b" not in read(shown, b"done\r")


def test_a_stopped_terminal_holds_nothing_up(tmp_path: Path) -> None:
    with terminal() as (_, written), process(tmp_path, "zypper", output=written) as pid:
        screen = open_screen(pid)
        assert screen
        began = time.monotonic()
        for _ in range(500):  # nobody reads: the terminal's buffer is full soon
            screen.line("x" * 1000, mood="")
        assert time.monotonic() - began < 5


def test_other_programs_and_other_outputs_are_left_alone(tmp_path: Path) -> None:
    with terminal() as (_, written), process(tmp_path, "y2base", output=written) as pid:
        assert open_screen(pid) is None
    with open(os.devnull, "w") as nowhere, process(tmp_path, "zypper", output=nowhere.fileno()) as pid:
        assert open_screen(pid) is None
    assert open_screen(0) is None


@pytest.mark.parametrize(
    ("words", "silent"),
    [
        ("in foo", False),
        ("-n in foo", False),
        ("-q in foo", True),
        ("-nq in foo", True),
        ("--quiet in foo", True),
        ("-x up", True),
        ("--terse up", True),
        ("-v in -q", False),
        ("-R /mnt -q in foo", True),
        ("-R /qtx in foo", False),
        ("-R/qtx in foo", False),
        ("--root /mnt --xmlout in foo", True),
        ("--userdata -q in foo", False),
        ("", False),
    ],
)
def test_who_wants_silence(words: str, silent: bool) -> None:
    assert wants_silence(words.split()) is silent
