# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs as the first process of the emulated machine, and does there what the test asks for.

Requests come through the second serial line and answers go back there, one JSON object a line. Between two
requests it does not sleep: an emulated machine that is idle skips to its next timer, so its clock would run
away while the test thinks.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import functools
import importlib
import json
import mmap
import os
import pkgutil
import signal
import subprocess
import time
import traceback
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.machine import copies, trials

_EXIT_PORT = 0xF4
_LIBC = ctypes.CDLL(None, use_errno=True)
_FINIT_MODULE, _DELETE_MODULE = 313, 176  # x86_64 (the kernel's arch/x86/entry/syscalls/syscall_64.tbl)
_MS_BIND, _MS_REC, _MS_MOVE = 4096, 16384, 8192  # mount(2)
_PATIENCE = 120.0  # seconds of the machine's clock


def run(words: Sequence[str], user: int = 0) -> dict[str, object]:
    """Run a command to its end."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=copies.HOME,
        timeout=_PATIENCE,
        user=user,
        cwd="/",
    )
    output, errors = (each.decode(errors="backslashreplace") for each in (done.stdout, done.stderr))
    return {"status": done.returncode, "output": output, "errors": errors}


def klp(words: Sequence[str], user: int = 0) -> dict[str, object]:
    """Run klp to its end, in a copy of this process that has imported what klp imports: that is most of its time."""
    return copies.copied("klp", words, user)


def _import_everything() -> None:
    for room in ("host", "klp", "lifecycle"):
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            importlib.import_module(module.name)
    importlib.import_module("rpm")


def start(words: Sequence[str], inside: int) -> int:
    """Start a command and return its process id as soon as it sleeps in a system call, given by its number."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=copies.HOME,
    )
    _children[process.pid] = process
    end = time.monotonic() + _PATIENCE
    while not (read(f"/proc/{process.pid}/syscall") or "").startswith(f"{inside} "):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{words} does not get into system call {inside}")
        time.sleep(0.01)
    return process.pid


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that ``start`` started is waited for if that ends it."""
    os.kill(pid, number)
    if number == signal.SIGKILL and pid in _children:
        _children.pop(pid).wait(_PATIENCE)


def load(path: str) -> str:
    """Load a kernel module; returns the name of the error, "" without."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _called(_LIBC.syscall(_FINIT_MODULE, descriptor, b"", 0))
    finally:
        os.close(descriptor)


def unload(name: str) -> str:
    """Unload a kernel module; returns the name of the error, "" without."""
    return _called(_LIBC.syscall(_DELETE_MODULE, name.encode(), os.O_NONBLOCK))


def write(path: str, text: str) -> str:
    """Write to a file of the kernel's; returns the name of the error, "" without."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def read(path: str) -> str | None:
    """Return what is in a file; None if it is not there."""
    try:
        return Path(path).read_text(errors="backslashreplace")
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None


def names(path: str) -> list[str]:
    """Return the names in a directory, sorted; none if it is not there."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def wait_for(path: str, text: str | None) -> float | None:
    """Wait until a file holds a text (None: it is gone); returns the seconds, None if they were too many."""
    began = time.monotonic()
    while time.monotonic() < began + _PATIENCE:
        if read(path) == text if text is not None else not os.path.exists(path):
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def watched(patch: str, cves: Sequence[str], patience: float) -> dict[str, Any]:
    """Return what the commit plugin's worker reports of a live patch that a package has just brought."""
    kernel, sysconfig = map(importlib.import_module, ("zypp_plugin.kernel", "host.sysconfig"))
    module = kernel.Module(package="", patch=patch, release=os.uname().release, cves=tuple(cves))
    brought = kernel.Kernel(packages=(), modules=(module,), when=sysconfig.When.AUTO, problems=())
    [row] = kernel.watch(brought, patience=patience, transactional=False, on_wait=lambda _rows: None)
    return dataclasses.asdict(row)


def give_way(words: list[str]) -> None:
    """Become another first process; a child goes on answering.

    The first root of all can be mounted nowhere else, and systemd moves the root of its units: from here on it is
    a mount of that root.
    """
    _LIBC.mount(b"/", b"/mnt", None, _MS_BIND | _MS_REC, None)
    os.chdir("/mnt")
    _LIBC.mount(b".", b"/", None, _MS_MOVE, None)
    os.chroot(".")
    if os.fork():
        os.execve(words[0], words, copies.HOME)


def sleep(seconds: float) -> None:
    """Let time pass, of the machine's clock."""
    time.sleep(seconds)


def every(calls: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Make several calls with nothing between them."""
    return [_answer(call) for call in calls]


def end(value: int) -> None:
    """End the machine; the emulator ends with the status 2 * value + 1."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("89fa 89f0 ee c3"))  # mov %edi,%edx; mov %esi,%eax; out %al,(%dx); ret
    out = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int)(
        ctypes.addressof(ctypes.c_char.from_buffer(code))
    )
    _LIBC.iopl(3)
    out(_EXIT_PORT, value)


_children: dict[int, subprocess.Popen[bytes]] = {}
_CALLS: dict[str, Callable[..., object]] = {
    call.__name__: call
    for call in (
        run,
        klp,
        start,
        kill,
        load,
        unload,
        write,
        read,
        names,
        wait_for,
        watched,
        trials.test,
        trials.target,
        trials.answer,
        give_way,
        sleep,
        every,
        end,
    )
}


def _answer(request: Mapping[str, Any]) -> object:
    return _CALLS[request["call"]](**request["arguments"])


def _called(result: int) -> str:
    return errno.errorcode[ctypes.get_errno()] if result < 0 else ""


def _mount(kind: str, place: str) -> None:
    if _LIBC.mount(kind.encode(), place.encode(), kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), f"cannot mount {place}")


def serve() -> None:
    """Answer requests."""
    os.chmod("/", 0o755)  # the kernel lets everybody write there
    _mount("proc", "/proc")
    _mount("sysfs", "/sys")
    _mount("devtmpfs", "/dev")
    line = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    tty.setraw(line)
    _import_everything()
    trials.settle()
    send = functools.partial(_send, line)
    send({"ready": os.uname().release})
    received = b""
    while True:
        with contextlib.suppress(BlockingIOError):
            received += os.read(line, 1 << 16)
        request, newline, rest = received.partition(b"\n")
        if newline:
            received = rest
            try:
                send({"answer": _answer(json.loads(request))})
            except Exception:
                send({"trouble": traceback.format_exc()})


def _send(line: int, message: object) -> None:
    left = json.dumps(message).encode() + b"\n"
    while left:
        with contextlib.suppress(BlockingIOError):
            left = left[os.write(line, left) :]


def live() -> None:
    """Answer requests until one ends the machine, and end it if that cannot go on."""
    try:
        serve()
    except BaseException:
        traceback.print_exc()
        end(1)
