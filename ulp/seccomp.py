# SPDX-License-Identifier: GPL-2.0-or-later
"""What a thread's seccomp filters would say to a system call, found by running them here instead of there.

Classic BPF over struct seccomp_data: Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/bpf_common.h;
the kernel takes the most restrictive answer of all filters (seccomp_run_filters()).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

ALLOW: Final = 0x7FFF0000
LOG: Final = 0x7FFC0000
_ACTION: Final = 0xFFFF0000
_MASK: Final = 0xFFFFFFFF
_X: Final = 0x08  # the operand is the index register
_SHIFTS: Final = frozenset({0x60, 0x70})
_DATA: Final = struct.Struct("<IIQ6Q")
_INSTRUCTION: Final = struct.Struct("<HBBI")


class BadFilter(Exception):
    """A program that the kernel would not have taken."""


def _signed(action: int) -> int:
    """Order actions as the kernel does: KILL_PROCESS (0x80000000) is the most restrictive."""
    value = action & _ACTION
    return value - (1 << 32) if value & 0x80000000 else value


def verdict(
    filters: Iterable[bytes], *, number: int, architecture: int, pc: int, arguments: Sequence[int]
) -> int:
    """Return the SECCOMP_RET_* action, without its data, for one system call; raises BadFilter."""
    values = [value & (1 << 64) - 1 for value in arguments]
    data = _DATA.pack(number, architecture, pc, *values, *([0] * (6 - len(values))))
    actions = [run(program, data) & _ACTION for program in filters]
    return min(actions, key=_signed, default=ALLOW)


def run(program: bytes, data: bytes) -> int:
    """Run one filter over a struct seccomp_data and return its 32-bit answer; raises BadFilter."""
    if len(program) % _INSTRUCTION.size:
        raise BadFilter("the program is cut")
    code = list(_INSTRUCTION.iter_unpack(program))
    accumulator = index = position = 0
    scratch = [0] * 16
    while position < len(code):
        operation, when_true, when_false, constant = code[position]
        position += 1
        match operation:  # all that seccomp_check_filter() in kernel/seccomp.c lets pass
            case 0x20:  # LD | W | ABS
                accumulator = _word(data, constant)
            case 0x00:  # LD | IMM
                accumulator = constant
            case 0x01:  # LDX | IMM
                index = constant
            case 0x80:  # LD | LEN
                accumulator = len(data)
            case 0x81:  # LDX | LEN
                index = len(data)
            case 0x60:  # LD | MEM
                accumulator = scratch[_slot(constant)]
            case 0x61:  # LDX | MEM
                index = scratch[_slot(constant)]
            case 0x02:  # ST
                scratch[_slot(constant)] = accumulator
            case 0x03:  # STX
                scratch[_slot(constant)] = index
            case 0x07:  # TAX
                index = accumulator
            case 0x87:  # TXA
                accumulator = index
            case 0x84:  # NEG
                accumulator = -accumulator & _MASK
            case 0x05:  # JA
                position += constant
            case 0x06:  # RET | K
                return int(constant)
            case 0x16:  # RET | A
                return accumulator
            case 0x3C if index == 0:  # DIV | X: a division by 0 ends the program with 0
                return 0
            case _ if operation & ~0xF8 == 0x04:
                if operation & _X:  # a shift by a register is by its lower five bits
                    operand = index % 32 if operation & 0xF0 in _SHIFTS else index
                else:
                    operand = constant
                accumulator = _calculate(operation, accumulator, operand)
            case _ if operation & ~0xF8 == 0x05:
                taken = _compare(operation, accumulator, index if operation & _X else constant)
                position += when_true if taken else when_false
            case _:
                raise BadFilter(f"instruction {operation:#x}")
    raise BadFilter("the program does not end")


def _word(data: bytes, offset: int) -> int:
    if offset % 4 or offset + 4 > len(data):
        raise BadFilter(f"load of {offset}")
    value: int = struct.unpack_from("<I", data, offset)[0]
    return value


def _slot(number: int) -> int:
    if number > 15:
        raise BadFilter(f"scratch word {number}")
    return number


def _calculate(operation: int, left: int, right: int) -> int:
    match operation & 0xF0:
        case 0x00:
            return left + right & _MASK
        case 0x10:
            return left - right & _MASK
        case 0x20:
            return left * right & _MASK
        case 0x30 if right:
            return left // right
        case 0x40:
            return left | right
        case 0x50:
            return left & right
        case 0x60 if right < 32:
            return left << right & _MASK
        case 0x70 if right < 32:
            return left >> right
        case 0xA0:
            return left ^ right
    raise BadFilter(f"operation {operation:#x} by {right}")


def _compare(operation: int, left: int, right: int) -> bool:
    match operation & 0xF0:
        case 0x10:
            return left == right
        case 0x20:
            return left > right
        case 0x30:
            return left >= right
        case 0x40:
            return bool(left & right)
    raise BadFilter(f"jump {operation:#x}")
