# SPDX-License-Identifier: GPL-2.0-or-later
"""x86_64: the code that is injected into one thread to make its system calls.

The code needs nobody: every operand is an immediate, it uses no stack, changes no flags, writes no memory, touches no
vector register, and ends by giving the thread back its signal mask and every register it used. If the tool dies while
the thread is in it, the thread runs through and goes on as if nothing had been.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ulp.arch import x86_64 as arch

# Marks the start of the place where the code lies, so that a later command knows a leftover from foreign bytes
MARKER: Final = b"ulp-stub"

DESCRIPTOR: Final = -1  # stands for the file descriptor that the first call returned
_SIG_SETMASK: Final = 2

# mov of a 32-bit immediate (which clears the upper half) and of a 64-bit one; xor would change the flags
_MOVE_32: Final = {
    arch.RAX: b"\xb8",
    arch.RCX: b"\xb9",
    arch.RDX: b"\xba",
    arch.RSI: b"\xbe",
    arch.RDI: b"\xbf",
    arch.R8: b"\x41\xb8",
    arch.R9: b"\x41\xb9",
    arch.R10: b"\x41\xba",
    arch.R11: b"\x41\xbb",
}
_MOVE_64: Final = {
    register: (b"\x49" + code[1:] if code[0] == 0x41 else b"\x48" + code)
    for register, code in _MOVE_32.items()
}
_ARGUMENTS: Final = (arch.RDI, arch.RSI, arch.RDX, arch.R10, arch.R8, arch.R9)
_KEEP_DESCRIPTOR: Final = b"\x41\x89\xc0"  # mov r8d, eax
_USE_DESCRIPTOR: Final = b"\x44\x89\xc7"  # mov edi, r8d
_SYSCALL: Final = b"\x0f\x05"
_JUMP_FAR: Final = b"\xff\x25\x00\x00\x00\x00"  # jmp *0(%rip)


class Call(NamedTuple):
    """One system call: its number and up to six arguments (unsigned, or DESCRIPTOR)."""

    number: int
    arguments: tuple[int, ...]


def _move(register: int, value: int) -> bytes:
    if value < 1 << 32:
        return _MOVE_32[register] + struct.pack("<I", value)
    return _MOVE_64[register] + struct.pack("<Q", value)


def _call(call: Call) -> bytes:
    code = bytearray(_move(arch.RAX, call.number))
    for register, value in zip(_ARGUMENTS, call.arguments, strict=False):
        if value != DESCRIPTOR:
            code += _move(register, value)
        elif register == arch.RDI:
            code += _USE_DESCRIPTOR
        # as the fifth argument, the descriptor is in its register already
    return bytes(code) + _SYSCALL


def assemble(
    calls: Sequence[Call], *, address: int, registers: Sequence[int], signal_mask: int, name: bytes
) -> tuple[bytes, int]:
    """Return the bytes to put at ``address`` and where in them the code starts.

    ``calls`` may name DESCRIPTOR from the second on; a call whose first argument shall be the address of ``name`` (a
    NUL-terminated string) gives 0 there. ``registers`` are what the thread shall have at the end.
    """
    head = MARKER + struct.pack("<Q", signal_mask) + name + b"\0"
    mask_address = address + len(MARKER)
    name_address = mask_address + 8
    code = bytearray()
    for call in calls:
        if call.number == arch.SYS_MEMFD_CREATE:
            code += _call(Call(number=call.number, arguments=(name_address, *call.arguments[1:])))
            code += _KEEP_DESCRIPTOR
        else:
            code += _call(call)
    code += _call(Call(number=arch.SYS_RT_SIGPROCMASK, arguments=(_SIG_SETMASK, mask_address, 0, 8)))
    for register in _MOVE_64:
        code += _MOVE_64[register] + struct.pack("<Q", registers[register])
    code += _JUMP_FAR + struct.pack("<Q", registers[arch.RIP])
    return head + bytes(code), len(head)


def longest(calls: int, *, name: int) -> int:
    """Return a bound of the bytes that ``assemble`` needs for so many calls and so long a name."""
    return len(MARKER) + 8 + name + 1 + (calls + 1) * 53 + 9 * 10 + len(_JUMP_FAR) + 8
