# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds sections that are not loaded to an ELF file, or replaces them; what is loaded stays as it is.

As objcopy(1) does with --add-section and --update-section, but without temporary files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ulp import elf_constants as c
from ulp.elf import HEADER, PROGRAM_HEADER, SECTION_HEADER, Elf

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_sections(image: bytes, contents: Mapping[str, bytes], *, name: str = "ELF file") -> bytes:
    """Return the ELF file with these sections (name to content); raises BadDataError where they cannot be.

    All sections keep their indices. What is replaced, the names of the sections and the table of their
    headers move behind the last thing that stays, so that a file does not grow by being changed again.
    """
    elf = Elf(image, name=name)
    fields = list(HEADER.unpack_from(image))
    segments_at, sections_at, segment_count, count, names_index = (
        fields[5],
        fields[6],
        fields[10],
        *fields[12:14],
    )
    if not 0 < names_index < count == len(elf.sections) or elf.sections[names_index].flags & c.SHF_ALLOC:
        elf.refuse("its section headers do not allow another section")
    table = image[sections_at : sections_at + count * SECTION_HEADER.size]
    headers = [list(header) for header in SECTION_HEADER.iter_unpack(table)]
    names = bytearray(elf.content(elf.sections[names_index]))
    moved: dict[int, bytes] = {}
    for wanted, content in contents.items():
        index = _find(elf, wanted)
        if index is None:
            index = len(headers)
            headers.append([len(names)])
            names += wanted.encode() + b"\0"
        headers[index][1:] = [c.SHT_PROGBITS, 0, 0, 0, 0, 0, 0, 1, 0]
        moved[index] = content
    if len(headers) >= c.SHN_LORESERVE:
        elf.refuse("it has too many sections for another one")
    moved[names_index] = bytes(names)

    ends = [HEADER.size, segments_at + segment_count * PROGRAM_HEADER.size]
    ends += [segment.offset + segment.file_size for segment in elf.segments]
    for index, section in enumerate(elf.sections):
        if index not in moved and section.type not in {c.SHT_NULL, c.SHT_NOBITS}:
            ends.append(section.offset + section.size)
    if max(ends) > len(image):
        elf.refuse("a section reaches beyond the end of the file; is it truncated?")
    out = bytearray(image[: max(ends)])
    for index, content in moved.items():
        headers[index][4:6] = len(out), len(content)
        out += content
    out += bytes(-len(out) % 8)
    fields[6], fields[12] = len(out), len(headers)
    out[: HEADER.size] = HEADER.pack(*fields)
    return bytes(out) + b"".join(SECTION_HEADER.pack(*header) for header in headers)


def _find(elf: Elf, name: str) -> int | None:
    found = [index for index, section in enumerate(elf.sections) if section.name == name]
    if len(found) > 1:
        elf.refuse(f"it has more than one {name} section")
    if found and elf.sections[found[0]].flags & c.SHF_ALLOC:
        elf.refuse(f"its {name} section is part of what is loaded")
    return found[0] if found else None
