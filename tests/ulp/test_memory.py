# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of processes, this one's and others'."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from host.procfs import parse_maps, read
from tests.support.targets import answers_library, caller, running
from ulp.memory import Memory, MemoryGone, Unreadable, Unwritable, shares_memory

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


@contextmanager
def pages(count: int, *, hole: int = -1, protection: int = 3) -> Iterator[int]:
    """Pages of this process; the one numbered ``hole`` is missing. Bytes count up from 0 in each page."""
    address = libc.mmap(None, count * PAGE, 3, 0x22, -1, 0)
    for page in range(count):
        ctypes.memmove(address + page * PAGE, bytes(range(256)) * (PAGE // 256), PAGE)
    libc.mprotect(address, count * PAGE, protection)
    if hole >= 0:
        libc.munmap(address + hole * PAGE, PAGE)
    try:
        yield address
    finally:
        libc.munmap(address, count * PAGE)


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(os.getpid()) as own:
        yield own


def test_reading_ends_at_a_hole(memory: Memory) -> None:
    with pages(3, hole=1) as address:
        assert memory.read(address + 5, 3) == b"\x05\x06\x07"
        assert memory.read(address, PAGE) == bytes(range(256)) * (PAGE // 256)
        assert memory.read_some(address + PAGE - 4, 100) == b"\xfc\xfd\xfe\xff"
        assert memory.read_some(address + PAGE, 8) == b""
        for start, size in ((address + PAGE - 4, 5), (address, 3 * PAGE), (address + PAGE, 1)):
            with pytest.raises(Unreadable):
                memory.read(start, size)
        assert memory.read(address + 2 * PAGE, 2) == b"\x00\x01"


def test_words_and_strings(memory: Memory) -> None:
    with pages(2, hole=1) as address:
        assert memory.word(address) == 0x0706050403020100
        assert memory.words(address + 8, 2) == (0x0F0E0D0C0B0A0908, 0x1716151413121110)
        assert memory.string(address + 250) == b"\xfa\xfb\xfc\xfd\xfe\xff"
        assert memory.string(address + 1, 4) == b"\x01\x02\x03\x04"
        assert memory.string(address + PAGE - 3) == b"\xfd\xfe\xff", "cut at the end of the mapping"
        assert memory.string(address + PAGE) == b""
        with pytest.raises(Unreadable):
            memory.words(address + PAGE - 8, 2)


@pytest.mark.parametrize("address", [-1, -PAGE, 0, 8, 1 << 47, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 80])
def test_addresses_that_nothing_can_be_at(memory: Memory, address: int) -> None:
    assert memory.read_some(address, 8) == b""
    assert memory.string(address) == b""
    with pytest.raises(Unreadable):
        memory.read(address, 8)
    with pytest.raises(Unwritable):
        memory.write(address, b"x")


def test_nothing_to_read_or_write(memory: Memory) -> None:
    with pages(1) as address:
        assert memory.read(address, 0) == b""
        memory.write(address, b"")
        memory.write(0, b"")


@pytest.mark.parametrize("protection", [0, 1, 5], ids=["none", "read", "execute"])
def test_writing_needs_no_permission_of_the_page_and_changes_none(memory: Memory, protection: int) -> None:
    with pages(2, protection=protection) as address:
        memory.write(address + PAGE - 2, b"abcd")
        assert memory.read(address + PAGE - 3, 6) == b"\xfdabcd\x02"
        (found,) = [m for m in parse_maps(read("/proc/self/maps")) if m.start <= address < m.end]
        assert found.permissions == {0: "---p", 1: "r--p", 5: "r-xp"}[protection]


def test_a_write_that_meets_a_hole_says_where(memory: Memory) -> None:
    with pages(2, hole=1) as address:
        with pytest.raises(Unwritable, match=f"{address + PAGE:#x}"):
            memory.write(address + PAGE - 2, b"abcd")
        assert memory.read(address + PAGE - 2, 2) == b"ab"


def test_what_is_shared_with_others_is_not_written(memory: Memory) -> None:
    """A read-only shared mapping of a file stays as it is: the kernel forces writes into private copies only."""
    descriptor = os.memfd_create("shared")
    try:
        os.ftruncate(descriptor, PAGE)
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        address = libc.mmap(None, PAGE, 1, 0x01, reader, 0)
        with pytest.raises(Unwritable):
            memory.write(address, b"x")
        private = libc.mmap(None, PAGE, 1, 0x02, reader, 0)
        memory.write(private, b"x")
        assert memory.read(private, 1) == b"x" and os.pread(descriptor, 1, 0) == b"\0"
        libc.munmap(address, PAGE)
        libc.munmap(private, PAGE)
        os.close(reader)
    finally:
        os.close(descriptor)


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has certainly become the program that it is to run: it answers a line."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(b"x\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"x\n"
            yield child
        finally:
            child.kill()


def test_a_process_that_has_ended() -> None:
    with started("cat") as child:
        with Memory(child.pid) as memory:
            start = parse_maps(read(f"/proc/{child.pid}/maps"))[0].start
            assert memory.read(start, 4) == b"\x7fELF"
            child.kill()
            child.wait()
            assert memory.read(start, 0) == b""
            for call in (
                lambda: memory.read(start, 4),
                lambda: memory.read_some(start, 4),
                lambda: memory.write(start, b"x"),
                lambda: memory.word(start),
            ):
                with pytest.raises(MemoryGone):
                    call()
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            Memory(child.pid)


def test_a_process_that_runs_another_program() -> None:
    with started("sh", "-c", "read x; echo $x; read x; exec sleep 60") as child, Memory(child.pid) as memory:
        start = parse_maps(read(f"/proc/{child.pid}/maps"))[0].start
        assert memory.read(start, 4) == b"\x7fELF"
        assert child.stdin is not None
        child.stdin.write(b"x\n")
        child.stdin.flush()
        end = time.monotonic() + 10
        with pytest.raises(MemoryGone):
            while memory.read_some(start, 4):
                assert time.monotonic() < end
                time.sleep(0.001)


def test_a_main_thread_that_has_exited_is_no_hindrance() -> None:
    from host.procfs import live_thread

    with running(caller(answers_library()), "main-exits") as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "exit of the main thread")
        tid = live_thread(target.pid)
        with Memory(target.pid, tid=tid) as memory:
            start = parse_maps(read(f"/proc/{target.pid}/task/{tid}/maps"))[0].start
            assert memory.read(start, 4) == b"\x7fELF"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_somebody_elses_process() -> None:
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            Memory(os.getppid())
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_descriptors_are_closed() -> None:
    before = os.listdir("/proc/self/fd")
    with Memory(os.getpid()) as memory:
        memory.read_some(0, 1)
    assert os.listdir("/proc/self/fd") == before


def test_who_shares_memory() -> None:
    assert shares_memory(os.getpid(), os.getpid())
    with subprocess.Popen(["sleep", "60"]) as child:
        assert not shares_memory(os.getpid(), child.pid)
        os.kill(child.pid, signal.SIGKILL)
    assert not shares_memory(os.getpid(), child.pid)
