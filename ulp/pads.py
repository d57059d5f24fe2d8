# SPDX-License-Identifier: GPL-2.0-or-later
"""The space for detours that gcc's -fpatchable-function-entry=16,14 leaves at each function, in a file.

The section holds the address of each function's space: 14 nops, then the entry with two more, or with ENDBR64 and two
more. A thread may stand between two nops of one byte, so that they cannot be replaced at once; libpulp's ``ulp post``
therefore makes one nop of them.
"""

from __future__ import annotations

from struct import iter_unpack
from typing import TYPE_CHECKING, Final, NamedTuple

from ulp import elf_constants as c
from ulp.arch import x86_64_pulp as arch
from ulp.elf import Elf, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION: Final = "__patchable_function_entries"


class Merged(NamedTuple):
    """A file whose functions begin with one nop each."""

    image: bytes
    changed: int  # functions that began with two
    done: int  # functions that began with one already
    others: int  # functions with space of another form; they stay as they are


def merge(elf: Elf) -> Merged:
    """Return the file with one nop in place of two at each entry; raises BadDataError where there is none to do."""
    if elf.type not in {c.ET_DYN, c.ET_EXEC} or elf.machine != c.EM_X86_64:
        elf.refuse("neither a library nor a program for x86_64")
    if elf.section(SECTION) is None:
        elf.refuse(f"it has no section {SECTION}")
    out = bytearray(elf.data)
    code = [load for load in elf.loads if load.flags & c.PF_X]
    changed = done = others = 0
    for address in _addresses(elf):
        where = _place(code, address)
        entry = where and arch.merged(bytes(out[where.start : where.stop]))
        if not where or not entry:
            others += 1
            continue
        start = where.start + arch.PAD
        if out[start : start + len(entry)] == entry:
            done += 1
        else:
            out[start : start + len(entry)] = entry
            changed += 1
    if not changed and not done:
        elf.refuse("none of its functions has 14 nops before and 2 at its entry")
    return Merged(bytes(out), changed, done, others)


def _addresses(elf: Elf) -> Iterator[int]:
    """Yield where the space of each function begins; functions that the linker has dropped are at 0."""
    places: dict[int, int] = {}
    for section in elf.sections:
        if section.name == SECTION:
            content = elf.content(section)
            if len(content) % 8:
                elf.refuse(f"section {SECTION} is cut short")
            places.update(
                (section.address + 8 * index, value)
                for index, (value,) in enumerate(iter_unpack("<Q", content))
            )
    if 0 in places.values():  # some linkers leave the addresses to the relocations
        relative = c.RELATIVE[elf.machine]
        for item in elf.relocations():
            if item.type == relative and not item.packed and places.get(item.offset) == 0:
                places[item.offset] = item.addend
    return (address for address in places.values() if address)


def _place(code: list[Segment], address: int) -> range | None:
    """Return where in the file the code is from an address on, as far as the entry reaches."""
    for load in code:
        if load.address <= address < load.address + load.file_size:
            start = load.offset + address - load.address
            return range(start, min(start + arch.LONGEST, load.offset + load.file_size))
    return None
