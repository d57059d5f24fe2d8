# SPDX-License-Identifier: GPL-2.0-or-later
"""What processes say about themselves, truthfully or not: a liar shows in its own line and in nobody else's."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.livepatches import SUCCESS, change, ten_functions
from tests.support.targets import Target, answers_library, caller, running
from ulp import holdings
from ulp.engines.direct import record as records
from ulp.engines.direct.record import Description, Diversion, Journal, Mark, State, Write

PLACE = 0x6000_0000_0000
# Maps a page of bytes from standard input at PLACE, and a memfd behind it, as often as wanted
LIAR = """
import ctypes, os, sys, time
place, name, count = int(sys.argv[1]), os.fsencode(sys.argv[2]), int(sys.argv[3])
data = sys.stdin.buffer.read()
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
size = -(-len(data) // 4096) * 4096
for number in range(count):
    at = place + number * (size + 4096)
    assert libc.mmap(at, size, 3, 0x100022, -1, 0) == at
    ctypes.memmove(at, data, len(data))
    descriptor = os.memfd_create(os.fsdecode(name), 0)
    os.ftruncate(descriptor, 4096)
    assert libc.mmap(at + size, 4096, 5, 0x100002, descriptor, 0) == at + size
    os.close(descriptor)
print("ready", flush=True)
time.sleep(300)
"""


@contextmanager
def liar(data: bytes, *, name: str = "", count: int = 1) -> Iterator[int]:
    """A process that has put this record into its own memory; gives its pid."""
    pages = -(-len(data) // 4096)
    words = [sys.executable, "-S", "-c", LIAR, str(PLACE), name or f"ulp1-{pages}-liar.so", str(count)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(data)
            child.stdin.close()
            assert child.stdout.readline() == b"ready\n"
            yield child.pid
            assert child.poll() is None, "it must go on living"
        finally:
            child.kill()


def forged(*, state: int = State.ACTIVE, journal: bytes = b"", **changed: Any) -> bytes:
    # the first byte of the record itself stands for the code of a function
    diversion = Diversion(
        name="f", function=64, new=96, address=PLACE, entry=64, pad=False, before=b"a", after=b"u"
    )
    description = Description(
        patch_id=bytes(32), container="/liar.so", library="/lib.so", target_name="lib.so", build_id=b"id",
        labels=(), time=1.0, bias=0, end=0, diversions=(diversion,),
    )  # fmt: skip
    fields = {**json.loads(records.encode_description(description)), **changed}
    text = json.dumps(fields).encode()
    header = struct.pack(
        "<8sIIQIIIIII", b"ulp-rec\n", 1, state, 1, 48, len(text), zlib.crc32(text), 48 + len(text), len(journal),
        zlib.crc32(journal),
    )  # fmt: skip
    return header + text + journal


def journal(*writes: Write, marks: tuple[Mark, ...] = (Mark(record=PLACE, state=State.ACTIVE),)) -> bytes:
    return records.encode_journal(Journal(writes=writes, marks=marks))


def write(address: int, *, entry: int | None = None, before: bytes = b"a", after: bytes = b"b") -> Write:
    return Write(
        address=address,
        before=before,
        after=after,
        entry=address if entry is None else entry,
        pad=False,
        function="f",
    )


@pytest.fixture(scope="module")
def honest() -> Iterator[Target]:
    with running(caller(answers_library())) as target:
        assert change(target, ten_functions(200)) == SUCCESS
        yield target


def check(honest: Target, pid: int) -> holdings.Holding:
    """List both; the honest process is told of as ever. Gives what is told of the other one."""
    begin = time.monotonic()
    found, unseen = holdings.applied(pids=[pid, honest.pid], libraries=True)
    assert time.monotonic() - begin < 20 and not unseen
    other, own = found
    assert [len(patch.functions) for patch in own.patches] == [10] and own.problem == ""
    assert own.patches[0].container == str(ten_functions(200))
    assert other.pid == pid
    return other


def test_a_record_that_is_well_formed_is_believed(honest: Target) -> None:
    with liar(forged()) as pid:
        told = check(honest, pid)
        assert [patch.container for patch in told.patches] == ["/liar.so"] and told.problem == ""


@pytest.mark.parametrize("address", [64, PLACE + 1])
def test_detours_that_are_nowhere_are_not_listed(honest: Target, address: int) -> None:
    function = {**json.loads(forged()[48:])["functions"][0], "address": address}
    with liar(forged(functions=[function])) as pid:
        told = check(honest, pid)
        assert told.patches == () and told.problem == ""


@pytest.mark.parametrize("state", [State.PREPARED, State.INACTIVE])
def test_what_is_not_in_use_is_not_listed(honest: Target, state: State) -> None:
    with liar(forged(state=state)) as pid:
        told = check(honest, pid)
        assert told.patches == () and told.problem == ""


@pytest.mark.parametrize(
    "data",
    [forged(container=5), forged(time="now"), forged(labels=[[]]), forged(functions=[None]), forged(state=9),
     forged(state=2, journal=b"{}"), forged()[:60], b"ulp-rec\n" + b"\xff" * 80],
    ids=lambda data: repr(data[48:70]),
)  # fmt: skip
def test_a_record_that_is_nonsense(honest: Target, data: bytes) -> None:
    with liar(data) as pid:
        told = check(honest, pid)
        assert told.patches == () and "a record of a live patch cannot be read" in told.problem


NOT_MINE = "an interrupted change could not be finished"


@pytest.mark.parametrize(
    "told",
    [
        journal(write(0)), journal(write(8)), journal(write((1 << 47) - 8)), journal(write(1 << 60)),
        journal(write((1 << 64) - 1)), journal(write(PLACE, entry=(1 << 64) - 1)),
        journal(write(PLACE, before=b"u", after=b"u"), marks=(Mark(record=1 << 63, state=State.ACTIVE),)),
        journal(write(PLACE, before=b"u", after=b"u"), marks=(Mark(record=(1 << 64) - 1, state=State.ACTIVE),)),
        journal(write(PLACE, before=b"u", after=b"u"), marks=(Mark(record=8, state=State.ACTIVE),)),
        journal(write(PLACE, before=b"x", after=b"y")),
        journal(*(write(number << 24) for number in range(3000))),
    ],
    ids=lambda told: told[:60].decode(),
)  # fmt: skip
def test_a_change_that_cannot_be_finished(honest: Target, told: bytes) -> None:
    with liar(forged(state=State.CHANGING, journal=told)) as pid:
        other = check(honest, pid)
        assert other.patches == ()
        assert NOT_MINE in other.problem or "cannot be read" in other.problem


def test_a_change_without_an_end(honest: Target) -> None:
    """Its journal is carried out, and the record still says that it is not."""
    with liar(forged(state=State.CHANGING, journal=journal(marks=()))) as pid:
        told = check(honest, pid)
        assert told.patches == ()


def test_an_interrupted_change_is_finished_and_then_listed(honest: Target) -> None:
    with liar(
        forged(state=State.CHANGING, journal=journal(write(PLACE + 200, before=b"x", after=b"x")))
    ) as pid:
        told = check(honest, pid)
        assert told.patches == () and "holds bytes that no live patch has put there" in told.problem
    data = forged(state=State.CHANGING, journal=journal(marks=(Mark(record=PLACE, state=State.ACTIVE),)))
    with liar(data) as pid:
        told = check(honest, pid)
        assert [patch.container for patch in told.patches] == ["/liar.so"] and told.problem == ""


@pytest.mark.parametrize(
    "name",
    ["ulp1-1-a\r/memfd:ulp1-1-b", "ulp1-1-a\r7f00-7f01 r-xp 0 0:0 1 /memfd:ulp1-1-b (deleted)", "ulp1-1-\n\n\x1b[2J",
     "ulp1-4096-far", "ulp1-99999999999999-x", "ulp1-x", "ulp1-1-" + "x" * 200],
    ids=repr,
)  # fmt: skip
def test_labels_of_every_kind(honest: Target, name: str) -> None:
    with liar(forged(), name=name) as pid:
        told = check(honest, pid)
        assert told.problem == "" and len(told.patches) <= 1


def test_a_thousand_records(honest: Target) -> None:
    with liar(forged(), count=1000) as pid:
        assert len(check(honest, pid).patches) == 1000
    with liar(forged(), name="ulp1-4096-x", count=200) as pid:
        assert "more than ulp makes" in check(honest, pid).problem


def test_a_process_that_ends_meanwhile(honest: Target) -> None:
    with running(caller(answers_library())) as target:
        pid = target.pid
        os.kill(pid, signal.SIGKILL)
        target.process.wait()
        found, unseen = holdings.applied(pids=[pid, honest.pid])
        assert [holding.pid for holding in found] == [honest.pid] and not unseen


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_what_a_user_may_not_look_at_is_counted(honest: Target) -> None:
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        found, unseen = holdings.applied(pids=[honest.pid, os.getpid()])
        os._exit(0 if (len(found), len(unseen)) == (1, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
