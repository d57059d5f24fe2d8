# SPDX-License-Identifier: GPL-2.0-or-later
"""A bounds-checked reader of 64-bit little-endian ELF files, on ``struct`` alone.

It is on the path of every ``ulp trigger``, so it parses only what is asked for, each table once, and raises
nothing but BadDataError however the file is damaged. Layouts: System V gABI, chapters 4 and 5; elf(5).
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn

from host.errors import BadDataError
from ulp import elf_constants as c
from ulp.elf_dynamic import Relocation, count_symbols, read_relocations, read_version_numbers, read_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from mmap import mmap

__all__ = ["Elf", "Relocation", "Section", "Segment", "Symbol"]

HEADER: Final = Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER: Final = Struct("<IIQQQQQQ")
SECTION_HEADER: Final = Struct("<IIQQQQIIQQ")
SYMBOL: Final = Struct("<IBBHQQ")
_NOTE: Final = Struct("<III")
_TOP: Final = 1 << 63


class Section(NamedTuple):
    """One section header; addresses and sizes in bytes."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entsize: int


class Segment(NamedTuple):
    """One program header; addresses and sizes in bytes."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int
    alignment: int

    @property
    def end(self) -> int:
        """The first address behind it in memory."""
        return self.address + self.memory_size


class Symbol(NamedTuple):
    """One symbol; a name that is not UTF-8 carries its bytes as surrogates (PEP 383)."""

    name: str
    value: int
    size: int
    info: int
    other: int
    section_index: int
    version: str = ""  # in .dynsym: the version that it is defined with or needs
    version_hidden: bool = False  # defined, but not the default version (NAME@VERSION, not NAME@@VERSION)
    version_file: str = ""  # the DT_NEEDED file that a needed version comes from

    @property
    def binding(self) -> int:
        """STB_LOCAL, STB_GLOBAL ..."""
        return self.info >> 4

    @property
    def type(self) -> int:
        """STT_FUNC, STT_OBJECT ..."""
        return self.info & 15

    @property
    def visibility(self) -> int:
        """STV_DEFAULT, STV_HIDDEN ..."""
        return self.other & 3

    @property
    def defined(self) -> bool:
        """True where this file holds the thing itself."""
        return self.section_index != c.SHN_UNDEF


class Elf:
    """One ELF file in memory; reading raises BadDataError where the file contradicts itself or its size."""

    def __init__(self, data: bytes | mmap, *, name: str = "ELF file") -> None:
        self.data = data
        self.path = name
        if len(data) < HEADER.size or data[:4] != b"\x7fELF":
            self.refuse("not an ELF file")
        fields = HEADER.unpack_from(data)
        ident, version = fields[0], fields[3]
        if ident[4:6] != b"\x02\x01":  # ELFCLASS64, ELFDATA2LSB
            self.refuse("not a 64-bit little-endian ELF file")
        if ident[6] != 1 or version != 1:
            self.refuse("not of ELF version 1")
        self.type: int = fields[1]
        self.machine: int = fields[2]
        self.entry: int = fields[4]
        self._segment_table: tuple[int, int, int] = fields[5], fields[9], fields[10]
        self._section_table: tuple[int, int, int] = fields[6], fields[11], fields[12]
        self._section_names: int = fields[13]

    def refuse(self, what: str, /) -> NoReturn:
        """Raise BadDataError about this file."""
        raise BadDataError(f"{self.path}: {what}")

    def _slice(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > len(self.data):
            self.refuse(f"the {what} reaches beyond the end of the file; is it truncated?")
        return self.data[offset : offset + size]

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All program headers; the loadable ones ascend, do not overlap, and lie in the file."""
        offset, entry_size, count = self._segment_table
        if not count:
            return ()
        if entry_size != PROGRAM_HEADER.size:
            self.refuse(f"program headers of {entry_size} instead of {PROGRAM_HEADER.size} bytes")
        table = self._slice(offset, count * entry_size, "program header table")
        segments = tuple(Segment(*raw[:4], *raw[5:]) for raw in PROGRAM_HEADER.iter_unpack(table))
        loads = [segment for segment in segments if segment.type == c.PT_LOAD]
        for load in loads:
            if load.file_size > load.memory_size or load.end > _TOP:
                self.refuse("a loadable segment has impossible sizes")
            align = load.alignment or 1
            if align & (align - 1) or (load.offset - load.address) % align:
                self.refuse("a loadable segment is not aligned as it says")
            if load.offset + load.file_size > len(self.data):
                self.refuse("a loadable segment reaches beyond the end of the file; is it truncated?")
        if any(first.end > second.address for first, second in pairwise(loads)):
            self.refuse("the loadable segments overlap or are out of order")
        return segments

    @cached_property
    def loads(self) -> tuple[Segment, ...]:
        """The loadable segments in ascending order."""
        return tuple(segment for segment in self.segments if segment.type == c.PT_LOAD)

    def segment_at(self, address: int, size: int = 1) -> Segment:
        """The loadable segment whose memory holds these bytes; BadDataError where none does."""
        for load in self.loads:
            if load.address <= address and address + size <= load.end:
                return load
        self.refuse(f"no loadable segment holds {size} bytes at address {address:#x}")

    def read_address(self, address: int, size: int) -> bytes:
        """What memory holds at an unrelocated address once loaded: zeros behind what is in the file."""
        if size > len(self.data):
            self.refuse(f"{size} bytes at address {address:#x} are more than the whole file")
        load = self.segment_at(address, size)
        start = load.offset + address - load.address
        return self.data[start : min(start + size, load.offset + load.file_size)].ljust(size, b"\0")

    def read(self, address: int, size: int, what: str = "range", /) -> bytes:
        """Like read_address, for what must be in the file as a whole; ``what`` names it in the error."""
        if not size:
            return b""
        load = self.segment_at(address, size)
        if address + size > load.address + load.file_size:
            self.refuse(f"the {what} at address {address:#x} is not in the file")
        return self._slice(load.offset + address - load.address, size, what)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """All section headers, the empty one at index 0 too; ``content`` checks where their contents lie."""
        offset, entry_size, count = self._section_table
        if not offset:
            return ()
        if entry_size != SECTION_HEADER.size:
            self.refuse(f"section headers of {entry_size} instead of {SECTION_HEADER.size} bytes")
        first = SECTION_HEADER.unpack(self._slice(offset, entry_size, "section header table"))
        count = count or first[5]  # gABI, "Extended section numbering": header 0 holds what does not fit
        names_index = first[6] if self._section_names == c.SHN_XINDEX else self._section_names
        table = self._slice(offset, count * entry_size, "section header table")
        if names_index >= count:
            self.refuse("the section with the names of the sections does not exist")
        headers = tuple(SECTION_HEADER.iter_unpack(table))
        if names_index:
            start, size = headers[names_index][4:6]
            strings = self._slice(start, size, "table of section names")
            names = self._names(strings, (header[0] for header in headers))
        else:
            names = [""] * count
        return tuple(Section(name, *header[1:]) for name, header in zip(names, headers, strict=True))

    def section(self, name: str) -> Section | None:
        """The first section of this name."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, section: Section) -> bytes:
        """The bytes of a section; none for one that takes no room in the file."""
        if section.type == c.SHT_NOBITS:
            return b""
        return self._slice(section.offset, section.size, f"section {section.name!r}")

    def _names(self, strings: bytes, offsets: Iterable[int]) -> list[str]:
        """The NUL-terminated strings at these offsets of a string table."""
        names: list[str] = []
        # Honest tables share a few tails; a hostile one has a long string start at each of its bytes.
        budget = 4 * len(strings) + (1 << 20)
        for offset in offsets:
            end = strings.find(b"\0", offset)
            budget -= end - offset
            if end < 0 or budget < 0:
                self.refuse("a name lies outside of its string table")
            names.append(strings[offset:end].decode("utf-8", "surrogateescape"))
        return names

    def build_id(self) -> bytes:
        """The NT_GNU_BUILD_ID note, 1 to 64 bytes (20 as a rule); empty where the file has none."""
        return self._build_id

    @cached_property
    def _build_id(self) -> bytes:
        for segment in self.segments:
            if segment.type == c.PT_NOTE:
                notes = self._slice(segment.offset, segment.file_size, "note segment")
                if found := self._find_build_id(notes, align=8 if segment.alignment == 8 else 4):
                    return found
        return self.section_build_id()

    def section_build_id(self) -> bytes:
        """The same by the section headers alone; a file of debug information has program headers that lie."""
        for section in self.sections:
            if section.type == c.SHT_NOTE:
                align = 8 if section.alignment == 8 else 4
                if found := self._find_build_id(self.content(section), align=align):
                    return found
        return b""

    def _find_build_id(self, notes: bytes, *, align: int) -> bytes:
        position = 0
        while position + _NOTE.size <= len(notes):
            name_size, size, kind = _NOTE.unpack_from(notes, position)
            name_at = position + _NOTE.size
            start = _round_up(name_at + name_size, align)
            if start + size > len(notes):
                self.refuse("a note is longer than the notes")
            if kind == c.NT_GNU_BUILD_ID and notes[name_at : name_at + name_size] == b"GNU\0":
                if not 1 <= size <= 64:
                    self.refuse(f"a build-id of {size} bytes")
                return notes[start : start + size]
            position = _round_up(start + size, align)
        return b""

    def dynamic(self) -> tuple[tuple[int, int], ...]:
        """The (tag, value) pairs of the dynamic section in order, without DT_NULL; none in a static file."""
        return self._dynamic

    @cached_property
    def _dynamic(self) -> tuple[tuple[int, int], ...]:
        for segment in self.segments:
            if segment.type == c.PT_DYNAMIC:
                table = self._slice(segment.offset, segment.file_size // 16 * 16, "dynamic section")
                pairs = tuple(iter_unpack("<QQ", table))
                for index, (tag, _) in enumerate(pairs):
                    if tag == c.DT_NULL:
                        return pairs[:index]
                self.refuse("the dynamic section has no end")
        return ()

    @cached_property
    def _tags(self) -> dict[int, int]:
        return dict(self._dynamic)

    def tags(self) -> Mapping[int, int]:
        """The dynamic section by tag, for the tags that occur once."""
        return self._tags

    @cached_property
    def _strings(self) -> bytes:
        return self.read(
            self._tags.get(c.DT_STRTAB, 0), self._tags.get(c.DT_STRSZ, 0), "dynamic string table"
        )

    def name(self, offset: int, /) -> str:
        """The string at an offset of the dynamic string table."""
        return self._names(self._strings, (offset,))[0]

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The DT_NEEDED names in order."""
        return tuple(
            self._names(self._strings, (value for tag, value in self._dynamic if tag == c.DT_NEEDED))
        )

    @cached_property
    def soname(self) -> str:
        """DT_SONAME, or nothing."""
        return self.name(self._tags[c.DT_SONAME]) if c.DT_SONAME in self._tags else ""

    def relocations(self) -> tuple[Relocation, ...]:
        """All dynamic relocations, in the order in which the dynamic linker applies them."""
        return self._relocations

    @cached_property
    def _relocations(self) -> tuple[Relocation, ...]:
        return read_relocations(self)

    def symbols(self, section: Literal[".dynsym", ".symtab"] = ".dynsym") -> tuple[Symbol, ...]:
        """The symbols of a table by index, the empty one at index 0 too; nothing without such a table."""
        return self._dynsym if section == ".dynsym" else self._symtab

    def find(self, name: str) -> Symbol | None:
        """The symbol that this file defines under a name: .dynsym before .symtab, default versions first."""
        return self._defined.get(name)

    @cached_property
    def _defined(self) -> dict[str, Symbol]:
        found: dict[str, Symbol] = {}
        for symbol in (*sorted(self._dynsym, key=lambda each: each.version_hidden), *self._symtab):
            if symbol.defined and symbol.type not in {c.STT_SECTION, c.STT_FILE}:
                found.setdefault(symbol.name, symbol)
        found.pop("", None)
        return found

    @cached_property
    def _symtab(self) -> tuple[Symbol, ...]:
        section = next((each for each in self.sections if each.type == c.SHT_SYMTAB), None)
        if section is None:
            return ()
        if not 0 < section.link < len(self.sections) or section.size % SYMBOL.size:
            self.refuse("the symbol table is damaged")
        raw = tuple(SYMBOL.iter_unpack(self.content(section)))
        names = self._names(self.content(self.sections[section.link]), (symbol[0] for symbol in raw))
        return tuple(
            Symbol(name, value, size, info, other, index)
            for name, (_, info, other, index, value, size) in zip(names, raw, strict=True)
        )

    @cached_property
    def _dynsym(self) -> tuple[Symbol, ...]:
        if c.DT_SYMTAB not in self._tags:
            return ()
        address = self._tags[c.DT_SYMTAB]
        section = next((each for each in self.sections if each.type == c.SHT_DYNSYM), None)
        if section is not None and section.address != address:
            self.refuse("the section headers and the dynamic section name different symbol tables")
        count = count_symbols(self) if section is None else section.size // SYMBOL.size
        raw = tuple(SYMBOL.iter_unpack(self.read(address, count * SYMBOL.size, "dynamic symbol table")))
        names = self._names(self._strings, (symbol[0] for symbol in raw))
        numbers = read_version_numbers(self, count)
        versions = read_versions(self)
        symbols: list[Symbol] = []
        for name, (_, info, other, index, value, size), number in zip(names, raw, numbers, strict=True):
            version, file = versions.get(number & 0x7FFF, ("", ""))
            symbols.append(Symbol(name, value, size, info, other, index, version, number > 0x7FFF, file))
        return tuple(symbols)


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align
