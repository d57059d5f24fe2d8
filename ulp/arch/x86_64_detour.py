# SPDX-License-Identifier: GPL-2.0-or-later
"""x86_64: the bytes that divert a function, and whether a function can bear them.

Two forms. Functions compiled with -fpatchable-function-entry=16,14 have 14 nops in front of the entry and two
behind it (behind endbr64, if there is one): they get libpulp's form, a jump through an 8-byte address in front and a
short jump back to it. All others get a 5-byte relative jump at the entry; no branch may lead into the middle of the
bytes it covers, which is decided by decoding the function.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

PAD: Final = 14  # nops in front of the entry
BEFORE: Final = 16  # how many bytes in front of an entry ``choose`` has to see
_ENDBR: Final = b"\xf3\x0f\x1e\xfa"
_NOPS: Final = (b"\x90\x90", b"\x66\x90")
_JUMP_FAR: Final = b"\xff\x25\x00\x00\x00\x00"
_JUMP: Final = 5
_BREAKPOINT: Final = b"\xcc"
# what assemblers fill the space between functions with: int3, nop, and the long forms of nop
_FILLER: Final = re.compile(
    rb"(?:\xcc|\x90|\x66\x90|(?:\x66)*(?:\x2e)?\x0f\x1f(?:\x00|\x40.|\x44..|\x80.{4}|\x84.{5}))*", re.DOTALL
)
# short jumps and loops; near jumps and conditional ones. The operand is only looked at, so that matches overlap: a
# branch can begin behind a byte that looks like one
_MAYBE_SHORT: Final = re.compile(rb"[\x70-\x7f\xe0-\xe3\xeb](?=(.))", re.DOTALL)
_MAYBE_NEAR: Final = re.compile(rb"(?:\x0f[\x80-\x8f]|\xe9)(?=(.{4}))", re.DOTALL)


_WINDOW: Final = 1 << 18  # bytes of code searched with one pattern


class CannotDivert(Exception):
    """The function cannot bear a detour; ``too_short`` tells the two reasons apart."""

    def __init__(self, sentence: str, *, too_short: bool = False) -> None:
        super().__init__(sentence)
        self.too_short = too_short


def inside(entry: int, *, pad: bool) -> range:
    """Return the addresses at which no thread may go on when the bytes of a site change.

    That is the middle of what is executed from the entry. A pad in front of it needs no care: nothing executes it
    before it is patched, and afterwards it is one single instruction.
    """
    return range(entry + 1, entry + (2 if pad else _JUMP))


def padded_entries(code: bytes) -> Iterator[tuple[int, bool]]:
    """Yield offsets of what can be functions with a pad, diverted or not, and whether that is certain.

    It is not where nops follow nops: they may be filler.
    """
    for mark in (_JUMP_FAR, b"\x90" * PAD):
        position = code.find(mark)
        while position >= 0:
            pad = position + PAD
            entry = pad + len(_ENDBR) if code.startswith(_ENDBR, pad) else pad
            jump = b"\xeb" + struct.pack("b", position - entry - 2)
            if code.startswith(jump if mark is _JUMP_FAR else _NOPS, entry):
                yield pad, mark is _JUMP_FAR or not code.startswith(b"\x90", entry)
            position = code.find(mark, position + 1)


class Site(NamedTuple):
    """Where a function is diverted: ``size`` bytes from ``address`` change."""

    address: int
    size: int
    entry: int  # the address that starts with the jump: where a call arrives, or behind its endbr64
    pad: bool

    def detour(self, destination: int, original: bytes) -> bytes:
        """Return the bytes that make this function jump to ``destination``."""
        if not self.pad:
            return b"\xe9" + struct.pack("<i", destination - (self.entry + _JUMP))
        kept = original[PAD : self.entry - self.address]  # endbr64, or nothing
        back = struct.pack("b", self.address - (self.entry + 2))
        return _JUMP_FAR + struct.pack("<Q", destination) + kept + b"\xeb" + back


def choose(code: bytes, *, address: int, size: int) -> Site:
    """Decide where and how to divert a function.

    ``code`` holds the function's original bytes from ``address - BEFORE`` on, up to at least 32 bytes behind its end;
    ``size`` is the function's length in bytes. Raises CannotDivert.
    """
    body = code[BEFORE:]
    skip = len(_ENDBR) if body.startswith(_ENDBR) else 0
    if _BREAKPOINT in {body[:1], body[skip : skip + 1]}:
        raise CannotDivert("there is a breakpoint at its entry (a debugger or a uprobe)")
    pad = code[BEFORE - PAD : BEFORE]
    if pad.startswith(_JUMP_FAR) and body[skip : skip + 2] == b"\xeb" + struct.pack("b", -PAD - skip - 2):
        raise CannotDivert("another tool has diverted it (libpulp does it like that)")
    if pad == b"\x90" * PAD and body[skip : skip + 2] in _NOPS:
        return Site(address=address - PAD, size=PAD + skip + 2, entry=address + skip, pad=True)
    if not size:
        raise CannotDivert("its length is in no table, so what a detour would cover is not known")
    room = _room(body, address=address, size=size)
    problem = ""
    for start in (skip, 0) if skip else (0,):
        if start + _JUMP > room:
            continue
        problem = _breakpoint_in(body[:size], start, start + _JUMP) or _branch_into(
            body[:size], address=address, first=start + 1, last=start + _JUMP - 1
        )
        if not problem:
            return Site(address=address + start, size=_JUMP, entry=address + start, pad=False)
    if problem:
        raise CannotDivert(problem)
    raise CannotDivert(f"it has {size} bytes, a detour needs {_JUMP}", too_short=True)


def _breakpoint_in(body: bytes, start: int, end: int) -> str:
    """Return a sentence when a breakpoint instruction begins between two offsets, else "".

    Whoever takes it away later would put the old byte into the detour, and a revert would bring it back.
    """
    if _BREAKPOINT in body[start:end]:
        for offset, _, mnemonic, _ in _decoded(body[start:], start):
            if offset < end and mnemonic == "int3":
                return "there is a breakpoint in its first bytes (a debugger or a uprobe)"
    return ""


def _room(body: bytes, *, address: int, size: int) -> int:
    """Return how many bytes from the entry belong to the function or to the filler behind it."""
    if size >= _JUMP + len(_ENDBR):
        return size
    # functions begin at multiples of 16 where compilers fill, so the filler cannot hide a function's start
    end = min(len(body), -(-(address + size) // 16) * 16 - address)
    filler = _FILLER.match(body, size, end)
    return filler.end() if filler else size


def _branch_into(body: bytes, *, address: int, first: int, last: int) -> str:
    """Return a sentence when an instruction of the function branches to one of its bytes first..last, else ""."""
    if not any(first <= target <= last for _, target in chain(short_branches(body), near_branches(body))):
        return ""
    decoded = 0
    for start, length, target in _branches(body, address):
        decoded = start + length - address
        if first <= target - address <= last:
            return f"its instruction at offset {start - address:#x} branches into its first bytes"
    if decoded != len(body):
        return "its instructions cannot be decoded, and a branch into its first bytes cannot be ruled out"
    return ""


def branches_to(body: bytes, *, address: int, targets: range) -> bool | None:
    """Say whether an instruction of a function branches to one of ``targets``; None when it cannot be decoded."""
    decoded = 0
    for start, length, target in _branches(body, address):
        decoded = start + length - address
        if target in targets:
            return True
    return None if decoded != len(body) else False


def calls_pointers(body: bytes) -> bool:
    """Say whether a function calls what a pointer says, other than through the table of its object's imports."""
    return any(
        "call" in mnemonic and not operands.startswith("0x") and "[rip " not in operands
        for _, _, mnemonic, operands in _decoded(body, 0)
    )


def _decoded(body: bytes, address: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield (address, length, mnemonic, operands) of every instruction, as far as they can be decoded.

    Raises CannotDivert where there is nothing to decode them with.
    """
    try:
        import capstone  # heavy, and one function in seventy needs it
    except ImportError as error:  # SLE 15 may not have it for the Python that this runs with
        raise CannotDivert(
            "its instructions can only be read with the library capstone for Python, which is missing"
        ) from error
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    yield from decoder.disasm_lite(body, address)


def _branches(body: bytes, address: int) -> Iterator[tuple[int, int, int]]:
    """Yield (address, length, target) of every instruction of a function, target -1 for all but direct branches."""
    for start, length, mnemonic, operands in _decoded(body, address):
        direct = mnemonic[0] in "jcl" and operands.startswith("0x")
        yield start, length, int(operands, 16) if direct else -1


def short_branches(code: bytes) -> Iterator[tuple[int, int]]:
    """Yield (offset, target offset) of every byte sequence that looks like a branch with an 8-bit distance."""
    for match in _MAYBE_SHORT.finditer(code):
        yield match.start(), match.end() + 1 + struct.unpack("b", match[1])[0]


def near_branches(code: bytes) -> Iterator[tuple[int, int]]:
    """Yield (offset, target offset) of every byte sequence that looks like a branch with a 32-bit distance."""
    for match in _MAYBE_NEAR.finditer(code):
        yield match.start(), match.end() + 4 + struct.unpack("<i", match[1])[0]


def branches_into(code: bytes, targets: range) -> Iterator[int]:
    """Yield the offset of every byte sequence that looks like a branch with a 32-bit distance to one of ``targets``.

    Offsets and targets count from the start of ``code``. The two upper bytes of the distance are left to the regular
    expression engine, which so passes over nearly all that goes elsewhere.
    """
    for start in range(0, len(code), _WINDOW):
        end = min(start + _WINDOW, len(code))
        upper = range((targets.start - end - 6) >> 16, ((targets.stop - start) >> 16) + 1)
        words = sorted({struct.pack("<i", value << 16)[2:] for value in upper if -0x8000 <= value < 0x8000})
        pattern = re.compile(
            rb"(?:\x0f[\x80-\x8f]|\xe9)(?=(..(?:" + b"|".join(map(re.escape, words)) + rb")))", re.DOTALL
        )
        for match in pattern.finditer(code, start, min(end + 6, len(code))):
            if match.end() + 4 + struct.unpack("<i", match[1])[0] in targets and match.start() < end:
                yield match.start()
