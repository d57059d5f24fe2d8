# SPDX-License-Identifier: GPL-2.0-or-later
"""x86_64: registers, system calls and their restart, relocations.

Register order: struct user_regs_struct, arch/x86/include/asm/user_64.h. Restart of system calls: handle_signal() and
arch_do_signal_or_restart() in arch/x86/kernel/signal.c. Relocations: System V ABI, AMD64 supplement, table 4.9.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

ELF_MACHINE: Final = 62
AUDIT_ARCHITECTURE: Final = 0xC000003E  # include/uapi/linux/audit.h
PAGE: Final = 4096
REGISTER_COUNT: Final = 27
DYNAMIC_THREAD_POINTER_OFFSET: Final = 0  # what a DTPOFF is relative to (TLS_DTV_OFFSET)
DETOUR_REACH: Final = (1 << 31) - (1 << 20)  # bytes between a function and its replacement, with a margin

R15: Final = 0
R14: Final = 1
R13: Final = 2
R12: Final = 3
RBP: Final = 4
RBX: Final = 5
R11: Final = 6
R10: Final = 7
R9: Final = 8
R8: Final = 9
RAX: Final = 10
RCX: Final = 11
RDX: Final = 12
RSI: Final = 13
RDI: Final = 14
ORIG_RAX: Final = 15
RIP: Final = 16
EFLAGS: Final = 18
RSP: Final = 19
FS_BASE: Final = 21

XSAVE_STATE: Final = 0x202  # NT_X86_XSTATE, include/uapi/linux/elf.h
VECTOR_STATES: Final = (XSAVE_STATE, 2)  # the second, NT_PRFPREG, where the processor has no XSAVE

RED_ZONE: Final = 128
LONGEST_CALL: Final = 7  # bytes of a call instruction without prefixes
SYSCALL_LENGTH: Final = 2
MASK64: Final = (1 << 64) - 1

SYS_READ: Final = 0
SYS_CLOSE: Final = 3
SYS_MMAP: Final = 9
SYS_MPROTECT: Final = 10
SYS_MUNMAP: Final = 11
SYS_BRK: Final = 12
SYS_RT_SIGPROCMASK: Final = 14
SYS_PREAD64: Final = 17
SYS_FUTEX: Final = 202
SYS_RESTART_SYSCALL: Final = 219
SYS_OPENAT: Final = 257
SYS_NEWFSTATAT: Final = 262
SYS_MEMFD_CREATE: Final = 319

CALL_NAMES: Final = {
    SYS_READ: "read",
    SYS_MPROTECT: "mprotect",
    SYS_BRK: "brk",
    SYS_PREAD64: "pread64",
    SYS_FUTEX: "futex",
    SYS_OPENAT: "openat",
    SYS_NEWFSTATAT: "newfstatat",
    SYS_CLOSE: "close",
    SYS_MMAP: "mmap",
    SYS_MUNMAP: "munmap",
    SYS_RT_SIGPROCMASK: "rt_sigprocmask",
    SYS_MEMFD_CREATE: "memfd_create",
}

CREATING_CALLS: Final = frozenset({56, 57, 58, 435})  # clone, fork, vfork, clone3: threads and processes

_USER_CODE_SEGMENT: Final = 0x33  # __USER_CS, 64-bit code
_CS: Final = 17

_EINTR: Final = MASK64 + 1 - 4
_ERESTARTSYS: Final = MASK64 + 1 - 512
_ERESTARTNOINTR: Final = MASK64 + 1 - 513
_ERESTARTNOHAND: Final = MASK64 + 1 - 514
_ERESTART_RESTARTBLOCK: Final = MASK64 + 1 - 516

# System calls that answer a stop without a signal with EINTR instead of being restarted by the kernel (signal(7),
# "Interruption of system calls and library functions by stop signals"; recv, send, accept and connect with a
# SO_RCVTIMEO or SO_SNDTIMEO; io_uring_enter). None of them has done anything yet when it says EINTR.
_ANSWER_EINTR: Final = frozenset(
    {
        0,  # read (of a socket with a timeout)
        1,  # write
        19,  # readv
        20,  # writev
        40,  # sendfile
        42,  # connect
        43,  # accept
        44,  # sendto
        45,  # recvfrom
        46,  # sendmsg
        47,  # recvmsg
        65,  # semop
        128,  # rt_sigtimedwait
        208,  # io_getevents
        220,  # semtimedop
        232,  # epoll_wait
        275,  # splice
        281,  # epoll_pwait
        285,  # fallocate, which tmpfs takes back then (shmem_fallocate() in mm/shmem.c)
        288,  # accept4
        299,  # recvmmsg
        307,  # sendmmsg
        327,  # preadv2
        328,  # pwritev2
        333,  # io_pgetevents
        426,  # io_uring_enter
        441,  # epoll_pwait2
    }
)


def mend_interrupted_call(registers: ctypes.Array[ctypes.c_ulonglong]) -> bool:
    """Turn an EINTR that only our stop caused into a restart; say whether registers were changed.

    ERESTARTNOHAND makes the kernel restart the call when the thread goes on, or answer EINTR if a handler runs then.
    """
    if registers[RAX] == _EINTR and registers[ORIG_RAX] in _ANSWER_EINTR:
        registers[RAX] = _ERESTARTNOHAND
        return True
    return False


def in_system_call(registers: ctypes.Array[ctypes.c_ulonglong]) -> bool:
    """Say whether the thread stopped in a system call (and so in no restartable sequence)."""
    return registers[ORIG_RAX] != MASK64


def runs_64_bit(registers: ctypes.Array[ctypes.c_ulonglong]) -> bool:
    """Say whether the thread runs 64-bit code at the moment (a program may switch by a far jump)."""
    return registers[_CS] == _USER_CODE_SEGMENT


def result(registers: ctypes.Array[ctypes.c_ulonglong]) -> int:
    """Return what a system call answered, a negative error number for a failure."""
    value = registers[RAX]
    return value - MASK64 - 1 if value > MASK64 - 4095 else value


def resume_points(registers: ctypes.Array[ctypes.c_ulonglong]) -> tuple[int, ...]:
    """Return where the thread may go on: its program counter, and the system call that may be restarted."""
    pc = registers[RIP]
    if registers[ORIG_RAX] == MASK64:
        return (pc,)
    return (pc, pc - SYSCALL_LENGTH)


def after_restart(registers: ctypes.Array[ctypes.c_ulonglong]) -> list[int]:
    """Return the registers with which the thread goes on when nobody but the injected code restores them.

    An interrupted system call is restarted as the kernel would: the injected code's own calls have hidden it.
    """
    values = list(registers)
    if values[ORIG_RAX] != MASK64:
        if values[RAX] in {_ERESTARTSYS, _ERESTARTNOINTR, _ERESTARTNOHAND}:
            values[RAX] = values[ORIG_RAX]
            values[RIP] -= SYSCALL_LENGTH
        elif values[RAX] == _ERESTART_RESTARTBLOCK:
            values[RAX] = SYS_RESTART_SYSCALL
            values[RIP] -= SYSCALL_LENGTH
        values[ORIG_RAX] = MASK64
    return values


def enter(registers: ctypes.Array[ctypes.c_ulonglong], address: int) -> None:
    """Make the thread go on at an address, outside of any system call."""
    registers[RIP] = address
    registers[ORIG_RAX] = MASK64


def follows_call(code: bytes) -> bool:
    """Say whether LONGEST_CALL bytes of code end in what can be a call instruction (E8, or FF /2 and /3)."""
    if code[-5] == 0xE8:
        return True
    return any(code[-size] == 0xFF and code[1 - size] & 0x30 == 0x10 for size in range(2, LONGEST_CALL + 1))


class Relocation(enum.IntEnum):
    """The relocation types that a container may carry."""

    NONE = 0
    ABSOLUTE_64 = 1  # S + A
    PC32 = 2  # S + A - P
    PLT32 = 4  # S + A - P
    COPY = 5
    GLOB_DAT = 6  # S
    JUMP_SLOT = 7  # S
    RELATIVE = 8  # B + A
    ABSOLUTE_32 = 10
    DTPMOD64 = 16
    DTPOFF64 = 17
    TPOFF64 = 18
    PC64 = 24
    TLSDESC = 36
    IRELATIVE = 37
