# SPDX-License-Identifier: GPL-2.0-or-later
"""x86_64: the entries of functions that libpulp can divert, and the bytes that it puts there.

Compiled with -fpatchable-function-entry=16,14: 14 bytes before the entry, 2 at it, or behind an ENDBR64 there.
Source: libpulp's lib/arch/x86_64/patch.c.
"""

from __future__ import annotations

from typing import Final

from ulp.arch import x86_64 as arch

PAD: Final = 14  # bytes before the entry
LONGEST: Final = PAD + 6  # bytes with the entry, ENDBR64 included
_ENDBR64: Final = b"\xf3\x0f\x1e\xfa"
ENDBR64_SIZE: Final = len(_ENDBR64)
_JUMP: Final = b"\xff\x25\x00\x00\x00\x00"  # jmp *0(%rip), the new function's address follows
_BACK: Final = b"\xeb\xf0"  # jmp to the pad
_BACK_ENDBR64: Final = _ENDBR64 + b"\xeb\xec"
_RESTORED: Final = b"\x66\x90"  # one nop of two bytes
_UNTOUCHED: Final = b"\x90\x90"

# the system calls that allocating and freeing memory can take: (number, typical arguments)
ALLOCATING_CALLS: Final = (
    (arch.SYS_BRK, (0,)),
    (arch.SYS_MMAP, (0, 0x21000, 3, 0x22, 0xFFFFFFFF, 0)),
    (arch.SYS_MMAP, (0, 0x8000000, 0, 0x4022, 0xFFFFFFFF, 0)),
    (arch.SYS_MPROTECT, (0x10000, 0x1000, 3)),
    (arch.SYS_MUNMAP, (0x10000, 0x1000)),
    (arch.SYS_FUTEX, (0x10000, 0x81, 1)),
    (arch.SYS_RT_SIGPROCMASK, (2, 0x10000, 0, 8)),
)
# and those that loading a library takes
LOADING_CALLS: Final = (
    *ALLOCATING_CALLS,
    (arch.SYS_OPENAT, (0xFFFFFF9C, 0, 0x80000)),
    (arch.SYS_READ, (3, 0, 832)),
    (arch.SYS_PREAD64, (3, 0, 832, 64)),
    (arch.SYS_NEWFSTATAT, (3, 0, 0, 0x1000)),
    (arch.SYS_MMAP, (0, 0x10000, 5, 0x802, 3, 0)),
    (arch.SYS_MMAP, (0x10000, 0x1000, 3, 0x812, 3, 0)),
    (arch.SYS_MPROTECT, (0x10000, 0x1000, 1)),
    (arch.SYS_CLOSE, (3,)),
)


def is_patchable(code: bytes) -> bool:
    """Say whether libpulp takes the function whose first bytes (6 at least) are these; a diverted one, too."""
    start = code.removeprefix(_ENDBR64)[:2]
    return start in {_UNTOUCHED, _RESTORED} or start[:1] == b"\xeb"


def inside(entry: int) -> tuple[int, ...]:
    """Return the addresses where no thread may go on when the entry of a function changes."""
    # between the two nops of an entry that was never patched, with and without ENDBR64 before them
    return entry + 1, entry + 5


def is_prologue(now: bytes, then: bytes) -> bool:
    """Say whether bytes that shall become others are what libpulp does to a function's entry."""
    if len(then) == 2:
        return then == _RESTORED and is_patchable(now)
    if then[:6] != _JUMP:
        return False
    back = _BACK_ENDBR64 if now[PAD:].startswith(_ENDBR64) else _BACK
    return then[PAD:] == back and is_patchable(now[PAD:])


def merged(code: bytes) -> bytes:
    """Return an entry with one nop for its two, from its bytes and the pad before; empty where they are others."""
    entry = code[PAD:LONGEST]
    start = len(_ENDBR64) if entry.startswith(_ENDBR64) else 0
    if code[:PAD] != b"\x90" * PAD or entry[start : start + 2] not in {_UNTOUCHED, _RESTORED}:
        return b""
    return entry[:start] + _RESTORED
