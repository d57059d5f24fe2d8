# SPDX-License-Identifier: GPL-2.0-or-later
"""The only module that calls ptrace(2): seize, interrupt, look, write registers, let go.

A binding of its own, because every call here happens while somebody's production process stands still: one foreign
call each, no wrapper objects. ptrace belongs to a thread, so all calls for one process come from one thread; when that
thread ends, the kernel lets everything go that it still held.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable
from typing import Final

from ulp.arch import x86_64 as arch

# include/uapi/linux/ptrace.h
_POKEDATA: Final = 5
_CONT: Final = 7
_DETACH: Final = 17
_SYSCALL: Final = 24
_GETREGSET: Final = 0x4204
_SETREGSET: Final = 0x4205
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_GETSIGMASK: Final = 0x420A
_SETSIGMASK: Final = 0x420B
_SECCOMP_GET_FILTER: Final = 0x420C
_GET_RSEQ_CONFIGURATION: Final = 0x420F
_GETEVENTMSG: Final = 0x4201
_GETSIGINFO: Final = 0x4202

_O_TRACESYSGOOD: Final = 1 << 0
_O_TRACECLONE: Final = 1 << 3
_O_SUSPEND_SECCOMP: Final = 1 << 21

_SYSTEM_CALL_STOP: Final = signal.SIGTRAP | 0x80
_EVENT_CLONE: Final = 3
_NT_PRSTATUS: Final = 1
_LARGEST_STATE: Final = 1 << 14  # bytes of vector state, AMX included
_WALL: Final = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace: Callable[[int, int, object, object], int] = _libc.ptrace
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Gone(Exception):
    """The thread has ended."""


class OtherArchitecture(Exception):
    """The thread runs code of another instruction set (for example i386 on x86_64)."""


def _call(request: int, tid: int, address: object = None, data: object = None) -> None:
    if _ptrace(request, tid, address, data) == -1:
        number = ctypes.get_errno()
        if number == errno.ESRCH:
            raise Gone
        raise OSError(number, os.strerror(number))


class Thread:
    """One thread that this one traces, from ``seize`` to ``detach``.

    ``registers`` is the general register set in the order of the kernel's user_regs_struct, filled when the thread is
    found stopped. ``signal`` is one on its way to the thread when it stopped; whatever lets it go delivers it.
    ``event_child`` is the id of a thread that it was creating; that one is traced as well and stops by itself.
    ``kept``: it stays traced when the others of its process are let go. ``mended``: it stopped in a system call that
    any wake-up would end in EINTR; it will begin the call anew.
    """

    __slots__ = (
        "_iovec", "at_system_call", "event_child", "kept", "mended", "registers", "signal", "stopped", "tid"
    )  # fmt: skip

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.stopped = False
        self.signal = 0
        self.event_child = 0
        self.kept = False
        self.mended = False
        self.at_system_call = False
        self.registers = (ctypes.c_ulonglong * arch.REGISTER_COUNT)()
        self._iovec = ctypes.byref(_IoVec(ctypes.addressof(self.registers), ctypes.sizeof(self.registers)))

    def seize(self, *, children: bool, suspend_seccomp: bool = False) -> None:
        """Begin to trace without stopping; with ``children``, threads that it creates from now on are traced too.

        Raises Gone, and OSError with EPERM when it is traced already or tracing is not permitted.
        """
        options = _O_TRACESYSGOOD
        if children:
            options |= _O_TRACECLONE
        if suspend_seccomp:
            options |= _O_SUSPEND_SECCOMP
        _call(_SEIZE, self.tid, None, options)
        _held.add(self.tid)

    def interrupt(self) -> None:
        """Ask the thread to stop; raises Gone."""
        _call(_INTERRUPT, self.tid)

    def poll_stopped(self) -> bool:
        """Say whether the thread stands; its registers are filled when it has just stopped. Raises Gone."""
        if self.stopped:
            return True
        try:
            tid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
        except ChildProcessError:
            _held.discard(self.tid)
            raise Gone from None
        if tid == 0:
            return False
        self._take(status)
        return True

    def _take(self, status: int) -> None:
        if status & 0xFF != 0x7F:
            _held.discard(self.tid)
            raise Gone
        self.stopped = True
        event = status >> 16
        number = status >> 8 & 0xFF
        self.at_system_call = event == 0 and number == _SYSTEM_CALL_STOP
        if event == 0 and not self.at_system_call:
            self.signal = number
        elif event == _EVENT_CLONE:
            message = ctypes.c_ulong()
            _call(_GETEVENTMSG, self.tid, None, ctypes.byref(message))
            self.event_child = message.value
        self._read_registers()
        self.mended = arch.mend_interrupted_call(self.registers)
        if self.mended:
            self.write_registers()

    def _read_registers(self) -> None:
        iovec = _IoVec(ctypes.addressof(self.registers), ctypes.sizeof(self.registers))
        _call(_GETREGSET, self.tid, _NT_PRSTATUS, ctypes.byref(iovec))
        if iovec.length != ctypes.sizeof(self.registers):
            raise OtherArchitecture

    def write_registers(self) -> None:
        """Write ``registers`` back to the thread."""
        _call(_SETREGSET, self.tid, _NT_PRSTATUS, self._iovec)

    def vector_state(self) -> tuple[int, bytes]:
        """Return the kind (of arch.VECTOR_STATES) and contents of the set of all but the general registers."""
        for kind in arch.VECTOR_STATES:
            buffer = ctypes.create_string_buffer(_LARGEST_STATE)
            iovec = _IoVec(ctypes.addressof(buffer), _LARGEST_STATE)
            try:
                _call(_GETREGSET, self.tid, kind, ctypes.byref(iovec))
            except OSError:
                if kind == arch.VECTOR_STATES[-1]:
                    raise
                continue
            return kind, buffer.raw[: iovec.length]
        raise AssertionError

    def set_vector_state(self, kind: int, contents: bytes) -> None:
        """Write back what ``vector_state`` returned."""
        buffer = ctypes.create_string_buffer(contents, len(contents))
        iovec = _IoVec(ctypes.addressof(buffer), len(contents))
        _call(_SETREGSET, self.tid, kind, ctypes.byref(iovec))

    def signal_is_fault(self) -> bool:
        """Say whether the signal that it stopped for comes from its own instructions (si_code > 0, sigaction(2))."""
        information = (ctypes.c_int * 32)()  # a siginfo_t has 128 bytes
        _call(_GETSIGINFO, self.tid, None, ctypes.byref(information))
        return information[2] > 0

    def resume(self) -> None:
        """Let it run on, still traced; ``signal`` is delivered."""
        self._resume(_CONT)

    def resume_to_system_call(self) -> None:
        """Let it run to the next entry into or exit from a system call; ``signal`` is delivered."""
        self._resume(_SYSCALL)

    def _resume(self, request: int) -> None:
        number, self.signal = self.signal, 0
        self.stopped = False
        _call(request, self.tid, None, number)

    def detach(self) -> None:
        """Let the thread go on as if nothing had been; one that is gone is no error."""
        if _ptrace(_DETACH, self.tid, None, self.signal) == 0 or not os.path.exists(f"/proc/{self.tid}"):
            _held.discard(self.tid)
            self.stopped = False

    def signal_mask(self) -> int:
        """Return the mask of blocked signals, the one that a waiting system call will restore included."""
        mask = ctypes.c_ulonglong()
        _call(_GETSIGMASK, self.tid, 8, ctypes.byref(mask))
        return mask.value

    def set_signal_mask(self, mask: int) -> None:
        """Set the mask of blocked signals (kernel: SIGKILL and SIGSTOP cannot be blocked)."""
        _call(_SETSIGMASK, self.tid, 8, ctypes.byref(ctypes.c_ulonglong(mask)))

    def poke(self, address: int, word: bytes) -> None:
        """Write 8 bytes at an address, whatever the protection of the page."""
        _call(_POKEDATA, self.tid, address, struct.unpack("<Q", word)[0])

    def rseq_area(self) -> int:
        """Return the address of the thread's struct rseq, 0 without one (rseq(2), kernel commit 90f093fa8ea4)."""
        buffer = (ctypes.c_ulonglong * 3)()
        if _ptrace(_GET_RSEQ_CONFIGURATION, self.tid, ctypes.sizeof(buffer), ctypes.byref(buffer)) == -1:
            return 0
        return int(buffer[0])

    def seccomp_filters(self) -> list[bytes]:
        """Return the thread's seccomp programs, oldest first, as struct sock_filter arrays; raises OSError."""
        programs: list[bytes] = []
        while True:
            count = _ptrace(_SECCOMP_GET_FILTER, self.tid, len(programs), None)
            if count == -1:
                number = ctypes.get_errno()
                if number == errno.ENOENT:
                    return programs
                raise OSError(number, os.strerror(number))
            buffer = ctypes.create_string_buffer(count * 8)
            _call(_SECCOMP_GET_FILTER, self.tid, len(programs), ctypes.byref(buffer))
            programs.append(buffer.raw)


_held: set[int] = set()  # threads that were seized and not let go


def holds_any() -> bool:
    """Say whether a thread that was seized could not be let go (it is in an uninterruptible wait)."""
    return bool(_held)


def forget(tid: int | None = None) -> None:
    """Forget what is held, or one thread of that: the tracing thread is about to end, which lets everything go."""
    if tid is None:
        _held.clear()
    else:
        _held.discard(tid)


def wait_for_news(seconds: float) -> None:
    """Sleep until some traced thread may have stopped, or the time is over.

    SIGCHLD has to be blocked in every thread of this process (``hold_sigchld``): a stop sends it to the tracer.
    """
    signal.sigtimedwait((signal.SIGCHLD,), seconds)


def hold_sigchld() -> None:
    """Block SIGCHLD, so that ``wait_for_news`` sees it; call before any thread is started."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
