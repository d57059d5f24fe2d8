# SPDX-License-Identifier: GPL-2.0-or-later
"""x86_64: the code that is injected into one thread to call functions of its own process.

It needs nobody to finish: it keeps the thread's vector state in an area of the process, calls, tells the result there,
turns idly for a moment so that a tool can take the thread over, and then gives the thread back all that it had. If the
tool dies while the thread is in it, the thread runs through and goes on as if nothing had been.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from ulp.arch import x86_64 as arch
from ulp.arch.x86_64_stub import MARKER

# in the area: status, result, the thread's signal mask
AREA: Final = struct.Struct("<IiQ")
STATE_OFFSET: Final = 64  # of the vector state in the area; XSAVE wants this alignment
LONGEST_STATE: Final = 16384  # bytes of vector state (AMX takes 11 kB)

_TURNS: Final = 1 << 17  # of PAUSE: 2 to 20 ms
_SIG_SETMASK: Final = 2

# the order of general registers in machine code
_NUMBERS: Final = (
    arch.RAX, arch.RCX, arch.RDX, arch.RBX, arch.RSP, arch.RBP, arch.RSI, arch.RDI,
    arch.R8, arch.R9, arch.R10, arch.R11, arch.R12, arch.R13, arch.R14, arch.R15,
)  # fmt: skip


class Status(enum.IntEnum):
    """How far the thread is."""

    NONE = 0  # no thread has been here
    CALLING = 1
    DONE = 2  # the result is there, the thread turns idly
    GIVEN_BACK = 3  # the thread runs its own code again, or is a few instructions before it


class Code(NamedTuple):
    """Injected code; addresses are absolute. The function to call is expected in R15."""

    data: bytes  # to put at its address
    first: int  # where the first call begins: it keeps the vector state
    next: int  # where every further call begins
    give_back: int  # where a thread is sent that shall not return from its call


_MOVE: Final = {  # mov of a 64-bit immediate
    register: bytes((0x49 if number >= 8 else 0x48, 0xB8 | number & 7))
    for number, register in enumerate(_NUMBERS)
}


def _move(register: int, value: int) -> bytes:
    return _MOVE[register] + value.to_bytes(8, "little")


def assemble(*, address: int, area: int, registers: Sequence[int], has_xsave: bool) -> Code:
    """Return the code for ``address`` of a thread that shall have ``registers`` at the end.

    ``area`` is aligned to 64 and has room for STATE_OFFSET + LONGEST_STATE bytes; the stack is what lies below it.
    AREA at its start says CALLING and the signal mask before the code is entered.
    """
    # XSAVE64 and XRSTOR64 of all that there is, or FXSAVE64 and FXRSTOR64; Intel SDM, volume 1, chapter 13
    save, restore = (b"\x48\x0f\xae\x21", b"\x48\x0f\xae\x29")
    if not has_xsave:
        save, restore = (b"\x48\x0f\xae\x01", b"\x48\x0f\xae\x09")
    everything = b"\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff"  # mov eax, -1; mov edx, -1
    to_state = _move(arch.RCX, area + STATE_OFFSET)
    to_area = _move(arch.RCX, area)
    to_stack = _move(arch.RSP, area)

    code = bytearray(MARKER)
    first = len(code)
    code += to_state + everything + save
    following = len(code)
    # what the ABI expects at a function's entry: cld; fninit; ldmxcsr with the default, from the stack
    code += to_stack + b"\xfc\xdb\xe3\x68\x80\x1f\x00\x00\x0f\xae\x14\x24" + to_stack
    code += b"\x41\xff\xd7"  # call r15
    code += to_area + b"\x89\x41\x04"  # mov [rcx + 4], eax
    code += b"\xc7\x01" + struct.pack("<I", Status.DONE)  # mov dword [rcx], DONE
    # mov ecx, TURNS; again: pause; dec ecx; jnz again
    code += b"\xb9" + struct.pack("<I", _TURNS) + b"\xf3\x90\xff\xc9\x75\xfa"
    give_back = len(code)
    code += to_stack + to_state + everything + restore
    code += _move(arch.RAX, arch.SYS_RT_SIGPROCMASK) + _move(arch.RDI, _SIG_SETMASK)
    code += _move(arch.RSI, area + 8) + _move(arch.RDX, 0) + _move(arch.R10, 8) + b"\x0f\x05"
    code += to_area + b"\xc7\x01" + struct.pack("<I", Status.GIVEN_BACK)
    code += _move(arch.RAX, registers[arch.EFLAGS]) + b"\x50\x9d"  # push rax; popfq
    for register in _NUMBERS:
        code += _move(register, registers[register])
    code += b"\xff\x25\x00\x00\x00\x00" + struct.pack("<Q", registers[arch.RIP])  # jmp *0(%rip)
    return Code(bytes(code), address + first, address + following, address + give_back)


SIZE: Final = len(assemble(address=0, area=0, registers=[0] * arch.REGISTER_COUNT, has_xsave=True).data)
