# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of another process, read and written from outside through /proc/TID/mem (proc(5)).

Writing goes into pages that the process itself may not write: the kernel copies the page for this process first
(FOLL_FORCE), no protection is changed and no mapping becomes writable and executable. Since 6.12 a kernel may
allow that to a thread's tracer only, and only through the file of that thread (proc_mem.force_override=ptrace in
the kernel's Documentation/admin-guide/kernel-parameters.txt, CONFIG_PROC_MEM_FORCE_PTRACE).
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import threading

from host import procfs

_KCMP_VM = 1
_SYS_KCMP = 312
_AT_RANDOM = 25


def shares_memory(pid: int, other: int) -> bool:
    """Say whether two processes run in the same memory, as after vfork(2); kcmp(2)."""
    import ctypes  # slow to import, and hardly anybody asks

    return bool(ctypes.CDLL(None).syscall(_SYS_KCMP, pid, other, _KCMP_VM, 0, 0) == 0)


class MemoryGone(Exception):
    """The process has ended or has replaced its program."""


class Unreadable(Exception):
    """Nothing is mapped at an address."""


class NotAnImage(Exception):
    """There is no usable ELF object at an address, or its tables are damaged."""


class Unmapped(NotAnImage):
    """What is to be read of an object is not mapped any more: it has just been unloaded."""


class Unwritable(Exception):
    """The kernel refuses to write at an address."""


@functools.cache
def _only_tracers_may() -> bool:
    """Say whether this kernel refuses whoever is no tracer: tried on a page of our own, with what it holds anyway."""
    mapping = next(
        each for each in procfs.parse_maps(procfs.read("/proc/self/maps")) if each.permissions == "r--p"
    )
    descriptor = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, os.pread(descriptor, 1, mapping.start), mapping.start)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class Memory:
    """A process's memory, as a context manager; opened through a thread that lives."""

    def __init__(self, pid: int, *, tid: int | None = None) -> None:
        """Raise OSError (EACCES, ENOENT, ESRCH) when the process is gone or not this user's to trace."""
        self._directory = f"/proc/{pid}" if tid is None else f"/proc/{pid}/task/{tid}"
        self._pid = pid
        self._descriptor = os.open(f"{self._directory}/mem", os.O_RDWR | os.O_CLOEXEC)
        self._writing = self._descriptor  # the one that the last write went through

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in {self._descriptor, self._writing}:
            os.close(descriptor)

    @functools.cached_property
    def domain(self) -> bytes:
        """What tells processes apart that could not change each other's memory: user, capabilities, namespaces, label.

        A process may write over its own copy of a library's tables. What was read in it may be believed of processes
        of its own domain only. Asked after the memory was opened, so it is not that of another program by then.
        Raises MemoryGone.
        """
        try:
            status = procfs.read(f"{self._directory}/status")
            places = [os.readlink(f"{self._directory}/ns/{name}") for name in ("user", "mnt")]
        except OSError as error:
            raise MemoryGone from error
        try:
            label = procfs.read(f"{self._directory}/attr/current")
        except OSError:  # no security module has labels here
            label = b""
        marks = [line for line in status.split(b"\n") if line.startswith((b"Uid:", b"Gid:", b"CapPrm:"))]
        return b"\n".join([*marks, *map(os.fsencode, places), label])

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes; raises Unreadable and MemoryGone."""
        try:
            data = os.pread(self._descriptor, size, address)
        except (OSError, OverflowError) as error:
            raise Unreadable(f"nothing can be read at {address:#x}") from error
        if len(data) == size:
            return data
        if not data and size:
            raise MemoryGone
        rest = self.read(address + len(data), size - len(data))
        return data + rest

    def read_some(self, address: int, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer where the mapping ends; empty where nothing is mapped.

        Raises MemoryGone.
        """
        try:
            data = os.pread(self._descriptor, size, address)
        except (OSError, OverflowError):
            return b""
        if not data and size:  # the end of the file: nobody has this memory any more
            raise MemoryGone
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write all of ``data``; raises Unwritable and MemoryGone.

        Where only a tracer may write, also Refusal and Momentary: somebody else traces it, or it cannot be traced.
        """
        done = 0
        while done < len(data):
            try:
                count = self._write_some(address + done, data[done:])
            except (OSError, OverflowError) as error:
                number = (isinstance(error, OSError) and error.errno) or errno.EFAULT
                raise Unwritable(f"writing at {address + done:#x}: {os.strerror(number)}") from error
            if count == 0:
                raise MemoryGone
            done += count

    def _write_some(self, address: int, data: bytes) -> int:
        try:
            return os.pwrite(self._writing, data, address)
        except OSError as refusal:
            if refusal.errno != errno.EIO or not _only_tracers_may():
                raise
        own = threading.get_native_id()
        thread = next(
            (tid for tid in procfs.threads(self._pid) if procfs.tracer(self._pid, tid) == own), None
        )
        if thread is not None:
            return self._write_through(thread, address, data)
        thread = procfs.live_thread(self._pid)
        if thread is None:
            return 0
        from ulp.standstill.stop import while_traced
        from ulp.tracee import Gone

        try:
            return while_traced(self._pid, thread, lambda: self._write_through(thread, address, data))
        except Gone:
            return 0

    def _write_through(self, thread: int, address: int, data: bytes) -> int:
        """Write by the file of a thread that this one traces, and from now on."""
        descriptor = os.open(f"/proc/{self._pid}/task/{thread}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            # 16 random bytes that the kernel gives each program at its start (getauxval(3))
            mark = procfs.auxiliary_vector(self._pid, thread).get(_AT_RANDOM, 0)
            known = os.pread(self._descriptor, 16, mark)
            is_same = known != b"" and known == os.pread(descriptor, 16, mark)
        except OSError:
            os.close(descriptor)
            raise
        if not is_same:  # it runs another program by now
            os.close(descriptor)
            return 0
        if self._writing != self._descriptor:
            os.close(self._writing)
        self._writing = descriptor
        return os.pwrite(descriptor, data, address)

    def word(self, address: int) -> int:
        """Return the 8-byte word at an address; raises Unreadable and MemoryGone."""
        value: int = struct.unpack("<Q", self.read(address, 8))[0]
        return value

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Return ``count`` 8-byte words; raises Unreadable and MemoryGone."""
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))

    def string(self, address: int, limit: int = 4096) -> bytes:
        """Return the NUL-terminated string at an address, at most ``limit`` bytes of it."""
        data = self.read_some(address, limit)
        # a string near the end of its mapping may come short; an unterminated one is cut
        return data.partition(b"\0")[0]
