# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc says, against what the kernel does: hostile paths and names, threads that are gone."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from host import procfs
from host.procfs import Mapping
from tests.support.targets import answers_library, caller, running

PR_SET_NAME = 15


def line_of(mapping: Mapping) -> bytes:
    """A line as the kernel writes it (fs/proc/task_mmu.c, show_vma_header_prefix and show_map_vma)."""
    text = (
        f"{mapping.start:08x}-{mapping.end:08x} {mapping.permissions} {mapping.offset:08x} "
        f"{mapping.device} {mapping.inode} "
    ).encode()
    if mapping.path:
        text = text.ljust(73) + os.fsencode(mapping.path).replace(b"\n", b"\\012")
    return text + b"\n"


_NAMES = st.one_of(
    st.binary(min_size=1, max_size=80),
    st.text(alphabet=" \t\r\x0b\x0c\x85()-:[]/\\0.d\x1b", min_size=1, max_size=30).map(str.encode),
    st.just(b"x" * 4000),
)
_PATHS = st.one_of(
    st.just(""),
    st.sampled_from(["[heap]", "[stack]", "[vdso]", "[anon:a name of one's own]"]),
    st.builds(
        lambda name, deleted: os.fsdecode(b"/" + name.replace(b"\0", b"") + deleted),
        _NAMES,
        st.sampled_from([b"", b" (deleted)", b" (deleted) (deleted)", b"  "]),
    ),
)
_MAPPINGS = st.builds(
    lambda start, pages, permissions, offset, device, inode, path: Mapping(
        start << 12, start + pages << 12, permissions, offset << 12, device, inode, path
    ),
    st.integers(0, (1 << 52) - 1),
    st.integers(1, 1 << 20),
    st.sampled_from(["r-xp", "rw-p", "---p", "r--s", "rwxs"]),
    st.integers(0, (1 << 52) - 1),
    st.from_regex(r"\A[0-9a-f]{2}:[0-9a-f]{2,5}\Z"),
    st.integers(0, (1 << 64) - 1),
    _PATHS,
)


@given(st.lists(_MAPPINGS, max_size=20))
def test_every_map_that_the_kernel_can_write_is_read(mappings: list[Mapping]) -> None:
    expected = tuple(mapping._replace(path=mapping.path.replace("\n", "\\012")) for mapping in mappings)
    assert procfs.parse_maps(b"".join(map(line_of, mappings))) == expected


@given(st.one_of(st.binary(max_size=300), st.lists(_MAPPINGS, min_size=1, max_size=3)), st.data())
@example(b"1-2 r-xp 0 0:0 " + b"9" * 5000, None)
@example(b"1-2 r-xp " + b"f" * 100_000 + b" 0:0 1 /x\n", None)
@example(b"2-1 r-xp 0 0:0 1 /x\n", None)
@example(b"-1-2 r-xp 0 0:0 1 /x\n", None)
@example(b"1-2 \xff\xff\xff\xff 0 0:0 1 /x\n", None)
@example(b" " * 1_000_000, None)
def test_garbage_is_a_value_error(source: bytes | list[Mapping], data: st.DataObject | None) -> None:
    text = bytearray(source if isinstance(source, bytes) else b"".join(map(line_of, source)))
    if data is not None and text:
        for _ in range(data.draw(st.integers(0, 4))):
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    begin = time.process_time()
    with contextlib.suppress(ValueError):
        for mapping in procfs.parse_maps(bytes(text)):
            assert 0 <= mapping.start < mapping.end
    assert time.process_time() - begin < 1


@contextlib.contextmanager
def mapped(path: bytes, *, delete: bool) -> Iterator[int]:
    """Map a file of that name into this process; gives its inode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        with mmap.mmap(descriptor, mmap.PAGESIZE):
            if delete:
                os.unlink(path)
            yield os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
        if not delete:
            os.unlink(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.binary(min_size=1, max_size=200), delete=st.booleans())
@example(name=b"a\rb", delete=False)
@example(name=b"two\nlines", delete=False)
@example(name=b" blank at both ends ", delete=False)
@example(name=b"gone (deleted)", delete=True)
@example(name=b"\x0b\x0c\x85\xff", delete=True)
@example(name=b"1-2 r-xp 00000000 00:00 0 \r7f0000000000-7f0000001000 r-xp 00000000 00:00 1", delete=False)
def test_a_real_file_of_any_name(tmp_path: Path, name: bytes, delete: bool) -> None:
    name = name.replace(b"\0", b"").replace(b"/", b"")[:200]
    if name in {b"", b".", b".."}:
        return
    path = os.fsencode(tmp_path) + b"/" + name
    with mapped(path, delete=delete) as inode:
        (found,) = [m for m in procfs.parse_maps(procfs.read("/proc/self/maps")) if m.inode == inode]
    assert os.fsencode(found.path) == path.replace(b"\n", b"\\012") + (b" (deleted)" if delete else b"")


def test_own_map_covers_own_code() -> None:
    mappings = procfs.parse_maps(procfs.read("/proc/self/maps"))
    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
    assert address is not None
    (found,) = [m for m in mappings if m.start <= address < m.end]
    assert found.permissions == "r-xp" and found.inode and "libc" in found.path
    assert [m.start for m in mappings] == sorted(m.start for m in mappings)


@contextlib.contextmanager
def thread_named(name: bytes) -> Iterator[int]:
    """A thread of this process that waits under a name of its own; gives its id."""
    started, end = threading.Event(), threading.Event()

    def wait() -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, name)
        started.set()
        end.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert started.wait(10) and thread.native_id
        yield thread.native_id
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("name", [b") R (", b")", b"a b) Z 1 2", b"(((", b"", b"x\ny", b") R 1 1 1 1\n"])
def test_a_name_cannot_pretend_to_be_a_state(name: bytes) -> None:
    with thread_named(name) as tid:
        end = time.monotonic() + 10
        while (state := procfs.task_state(os.getpid(), tid)) is not None and state.state == "R":
            assert time.monotonic() < end
            time.sleep(0.001)
        assert state is not None and state.state == "S"
        assert not state.flags & procfs.NO_USER_CODE
        assert procfs.status(os.getpid(), tid)["Tgid"] == str(os.getpid())
        assert tid in procfs.threads(os.getpid())


def test_a_kernel_thread_is_marked() -> None:
    if not os.path.exists("/proc/2/comm") or procfs.name(2) != "kthreadd":
        pytest.skip("this container sees no kernel thread")
    state = procfs.task_state(2, 2)
    assert state is not None and state.flags & procfs.NO_USER_CODE


def test_what_becomes_of_signals() -> None:
    code = "import signal; signal.signal(2, signal.SIG_IGN); signal.signal(10, print); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ignored, caught = procfs.dispositions(child.pid, child.pid)
        child.communicate(b"\n")
    assert (bool(ignored & 1 << 1), bool(caught & 1 << 1)) == (True, False)
    assert (bool(ignored & 1 << 9), bool(caught & 1 << 9)) == (False, True)


def test_who_has_children() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert procfs.has_children(os.getpid(), threading.get_native_id())
        assert not procfs.has_children(child.pid, child.pid)
    finally:
        child.kill()
        child.wait()
    assert not procfs.has_children(child.pid, child.pid)


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_process_that_is_gone() -> None:
    pid = gone()
    assert procfs.threads(pid) == []
    assert procfs.task_state(pid, pid) is None
    assert procfs.live_thread(pid) is None
    assert procfs.name(pid) == ""
    assert procfs.start_time(pid) is None
    with pytest.raises(FileNotFoundError):
        procfs.status(pid)
    with pytest.raises(FileNotFoundError):
        procfs.auxiliary_vector(pid, pid)


def test_a_zombie_has_no_live_thread() -> None:
    process = subprocess.Popen(["true"])
    try:
        end = time.monotonic() + 10
        while (state := procfs.task_state(process.pid, process.pid)) and state.state != "Z":
            assert time.monotonic() < end
            time.sleep(0.001)
        assert procfs.live_thread(process.pid) is None
        assert procfs.start_time(process.pid) is not None
    finally:
        process.wait()


def test_a_main_thread_that_has_exited_is_not_looked_through() -> None:
    with running(caller(answers_library()), "main-exits") as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "exit of the main thread")
        tid = procfs.live_thread(target.pid)
        assert tid is not None and tid != target.pid
        assert procfs.parse_maps(procfs.read(f"/proc/{target.pid}/task/{tid}/maps"))
        assert procfs.auxiliary_vector(target.pid, tid)


def test_the_main_thread_is_preferred() -> None:
    with thread_named(b"other"):
        assert procfs.live_thread(os.getpid()) == os.getpid()


def test_auxiliary_vector_is_the_one_of_getauxval() -> None:
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.argtypes, getauxval.restype = (ctypes.c_ulong,), ctypes.c_ulong
    found = procfs.auxiliary_vector(os.getpid(), os.getpid())
    assert found[6] == mmap.PAGESIZE
    for kind in (3, 4, 5, 7, 9, 11, 33):  # AT_PHDR, PHENT, PHNUM, BASE, ENTRY, UID, SYSINFO_EHDR
        assert found[kind] == getauxval(kind), kind


def test_status_and_own_name() -> None:
    found = procfs.status(os.getpid())
    assert found["Pid"] == str(os.getpid())
    assert found["Uid"].split()[0] == str(os.getuid())
    assert found["Seccomp"] in {"0", "1", "2"}
    assert procfs.name(os.getpid()) == Path("/proc/self/comm").read_text().rstrip("\n")
    assert os.getpid() in procfs.pids() and procfs.pids() == sorted(procfs.pids())


def test_start_time_orders_processes() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        own, child = procfs.start_time(os.getpid()), procfs.start_time(process.pid)
        assert own is not None and child is not None and own <= child
        assert procfs.start_time(process.pid) == child
    finally:
        process.kill()
        process.wait()
