# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp messages``: rings of every state, a real libpulp's against its own tool, and what is no ring at all."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from tests.support.documentation import contradictions
from tests.support.images import loading
from tests.support.libpulp import apply, needs_libpulp, padded_library, peer, preloaded
from tests.support.livepatches import ULP, ten_functions, ulp
from tests.support.pretender import pretended
from tests.support.targets import answers_library, caller, held, running
from tests.support.users import NOBODY, ordinary_user
from ulp.engines.pulp.messages import Message, parse

SIZE = 2 << 20
RING = b"libpulp loaded...\n\0[2026-11-21 01:09:09] \0ulp: Patch path: /tmp/x.so\n\0"
NAME = f"libmessages{os.getpid()}.so.0"


def said(pid: int, *words: str) -> bytes:
    done = subprocess.run([ULP, "messages", "-p", str(pid), *words], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


@pytest.mark.parametrize("bottom", [0, 17, SIZE - 20, SIZE - len(RING), SIZE - 1], ids=str)
def test_a_ring_from_any_place(bottom: int) -> None:
    with loading(pretended(ring=RING, bottom=bottom)) as pid:
        assert said(pid, "--raw") == RING
        assert said(pid) == b"libpulp loaded...\n[2026-11-21 01:09:09] ulp: Patch path: /tmp/x.so\n"


def test_one_that_is_empty_and_one_that_is_full() -> None:
    with loading(pretended()) as pid:
        assert said(pid) == b""
        assert json.loads(said(pid, "--json"))["messages"] == []
    with loading(pretended(ring=RING, bottom=5, distance=SIZE)) as pid:
        assert said(pid, "--raw") == RING + bytes(SIZE - len(RING))
        assert said(pid) == RING.replace(b"\0", b"")


@pytest.mark.parametrize(
    ("bottom", "distance"), [(SIZE, 0), (-1, 5), (0, -1), (5, SIZE + 1), (2**31 - 1, 2**31 - 1)], ids=str
)
def test_ends_that_cannot_be(bottom: int, distance: int) -> None:
    with loading(pretended(bottom=bottom, distance=distance)) as pid:
        told = ulp("messages", "-p", str(pid))
        assert (told.status, told.stdout) == (65, "")
        assert told.stderr == f"ulp: process {pid}: the ring of messages has impossible ends\n"


def test_json() -> None:
    library = pretended(ring=RING + b"half a \0line\xff\n\0[2026-11-21 01:09:10] \0")
    with loading(library) as pid:
        document = json.loads(said(pid, "--json"))
    assert contradictions(document) == []
    assert document["libpulp"] == {"path": str(library), "version": "0.3.17", "error_state": 0}
    assert document["messages"] == [
        {"time": None, "text": "libpulp loaded..."},
        {"time": "2026-11-21 01:09:09", "text": "ulp: Patch path: /tmp/x.so"},
        {"time": None, "text": "half a line\\xff"},
        {"time": "2026-11-21 01:09:10", "text": ""},
    ]


def test_a_message_without_an_end_ends_at_the_next_time() -> None:
    ring = b"[2026-01-01 00:00:00] \0a\nb\n\0cut\0[2026-01-01 00:00:01] \0d\n\0" + bytes(9)
    assert list(parse(ring)) == [
        Message("2026-01-01 00:00:00", "a"),
        Message("2026-01-01 00:00:00", "b"),
        Message("", "cut"),
        Message("2026-01-01 00:00:01", "d"),
    ]


def test_nothing_acts_on_a_terminal() -> None:
    with loading(pretended(ring=b"\x1b]0;x\x07bell\r\n\0second\xff\n\0")) as pid:
        for words, text in (
            ((), rb"\x1b]0;x\x07bell\x0d|second\xff|"),
            (("--raw",), rb"\x1b]0;x\x07bell\x0d|\x00second\xff|\x00|"),
        ):
            primary, secondary = pty.openpty()
            done = subprocess.run([ULP, "messages", "-p", str(pid), *words], stdout=secondary, timeout=30)
            os.close(secondary)
            shown = b""
            try:
                while part := os.read(primary, 4096):
                    shown += part
            except OSError:  # EIO: everything is read
                pass
            os.close(primary)
            assert done.returncode == 0 and shown.replace(b"\r\n", b"|") == text
        assert said(pid) == b"\x1b]0;x\x07bell\r\nsecond\xff\n"


def test_words_it_does_not_understand() -> None:
    assert ulp("messages").status == 64
    assert ulp("messages", "-p", "99999999").status == 66
    assert ulp("messages", "-p", "no-such-process-name").status == 2
    name = f"talk{os.getpid()}"
    with running(caller(answers_library(name=NAME), name=name)) as one:
        told = ulp("messages", "-p", str(one.pid))
        assert (told.status, told.stdout) == (2, "")
        assert told.stderr.startswith(f"ulp: process {one.pid} ({name}) does not preload libpulp\n")
        assert ulp("messages", "-p", name).status == 2
        with running(caller(answers_library(name=NAME), name=name)) as two:
            told = ulp("messages", "-p", name)
            assert told.status == 64
            assert told.stderr.startswith(f"ulp: '{name}' fits 2 processes: ")
            assert str(one.pid) in told.stderr and str(two.pid) in told.stderr


def test_a_process_that_maps_nothing() -> None:
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert ulp("messages", "-p", str(zombie.pid)).status == 66


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_other_users() -> None:
    library = answers_library(name=NAME)
    environment = {"LD_PRELOAD": str(pretended(ring=RING))}
    with running(caller(library), wrapper=NOBODY, environment=environment) as theirs:
        told = ulp("messages", "-p", str(theirs.pid), prefix=ordinary_user())
        assert (told.status, told.stdout.count("ulp: Patch path: ")) == (0, 1)
    with running(caller(library), environment=environment) as ours:
        assert ulp("messages", "-p", str(ours.pid), prefix=ordinary_user()).status == 77


@needs_libpulp
def test_the_same_bytes_as_libpulps_own_tool() -> None:
    library = padded_library(name=NAME)
    with preloaded(caller(library)) as target:
        apply(target, ten_functions(200, library=library))
        words = ["messages", "-p", str(target.pid)]
        theirs = subprocess.run([peer().tool, *words], capture_output=True, timeout=60).stdout
        assert b"libpulp loaded..." in theirs and b"Patch path" in theirs
        with held(target.pid):  # who wanted to stop it would fail
            assert said(target.pid, "--raw") == theirs
            assert said(target.pid) == theirs.replace(b"\0", b"")
            messages = json.loads(said(target.pid, "--json"))["messages"]
        assert any(message["time"] and "Patch path" in message["text"] for message in messages)
