# SPDX-License-Identifier: GPL-2.0-or-later
"""An ELF object as it lies in a process's memory: what is the same in every process that runs this build.

Everything is read from the memory of some process, so chroots, other mount namespaces and deleted files make no
difference. All addresses are link-time addresses ("value" in ELF's words); a process adds its load bias.
Format: elf(5).
"""

from __future__ import annotations

import functools
import struct
from typing import Final, NamedTuple

from ulp import elf_constants as c
from ulp.memory import Memory, NotAnImage, Unmapped, Unreadable
from ulp.symbol_table import SymbolTable
from ulp.unwind_table import UnwindTable

PAGE: Final = 4096
_CHUNK: Final = 16384
_MOST_CHUNKS: Final = 16384  # bounds what a damaged image can make us read
_MOST_SYMBOLS: Final = 1 << 20

# what glibc relocates in memory
_ADDRESSES: Final = frozenset(
    {c.DT_HASH, c.DT_STRTAB, c.DT_SYMTAB, c.DT_RELA, c.DT_JMPREL, c.DT_GNU_HASH, c.DT_VERSYM, c.DT_VERDEF}
)


class Segment(NamedTuple):
    """A program header."""

    type: int
    flags: int
    address: int
    file_size: int
    memory_size: int


class Image:
    """What can be known of one build of a program or library.

    It keeps a view of the memory it was first read from only while something has to be read (``attach``).
    """

    def __init__(self, page: bytes) -> None:
        """Read the first page of the object; raises NotAnImage."""
        if page[:4] != b"\x7fELF" or len(page) < 64 or page[4:6] != b"\x02\x01":
            raise NotAnImage
        (self.type, self.machine, _, self.entry, offset, _, _, _, size, count) = struct.unpack_from(
            "<HHIQQQIHHH", page, 16
        )
        if size != 56 or offset + size * count > len(page):
            raise NotAnImage
        self.segments = tuple(
            Segment(kind, flags, address, file_size, memory_size)
            for kind, flags, _, address, _, file_size, memory_size, _ in struct.iter_unpack(
                "<IIQQQQQQ", page[offset : offset + size * count]
            )
        )
        loads = self.loads
        if not loads:
            raise NotAnImage
        self.start = loads[0].address & -PAGE
        self.end = max(load.address + load.memory_size for load in loads)
        self._memory: Memory | None = None
        self._bias = 0
        self._chunks: dict[int, bytes] = {}
        self._page = page

    @functools.cached_property
    def loads(self) -> tuple[Segment, ...]:
        """The segments that are mapped, in ascending order."""
        return tuple(segment for segment in self.segments if segment.type == c.PT_LOAD)

    def is_code(self, address: int) -> bool:
        """Say whether a link-time address lies in executable contents of the file."""
        return any(
            load.flags & c.PF_X and load.address <= address < load.address + load.file_size
            for load in self.loads
        )

    def attach(self, memory: Memory, bias: int) -> None:
        """Read what is not known yet from this process from now on."""
        self._memory = memory
        self._bias = bias

    def is_at(self, memory: Memory, bias: int) -> bool:
        """Say whether its first page lies in a memory with this bias; raises MemoryGone."""
        return memory.read_some(self.start + bias, len(self._page)) == self._page

    def segment(self, kind: int) -> Segment | None:
        """Return the first segment of a type."""
        return next((segment for segment in self.segments if segment.type == kind), None)

    def read(self, address: int, size: int) -> bytes:
        """Return constant contents at a link-time address; raises NotAnImage where there is nothing."""
        first, last = address // _CHUNK, (address + size - 1) // _CHUNK
        data = b"".join(self._chunk(index) for index in range(first, last + 1))
        start = address - first * _CHUNK
        part = data[start : start + size]
        if len(part) != size:
            raise NotAnImage(f"the image ends before {address + size:#x}")
        return part

    def _chunk(self, index: int) -> bytes:
        chunk = self._chunks.get(index)
        if chunk is None:
            if self._memory is None or len(self._chunks) > _MOST_CHUNKS:
                raise NotAnImage("the image cannot be read")
            chunk = self._memory.read_some(self._bias + index * _CHUNK, _CHUNK)
            if len(chunk) < _CHUNK:
                # a hole within the chunk: take its pages one by one, holes read as zeros
                pages = [
                    self._memory.read_some(self._bias + index * _CHUNK + offset, PAGE)
                    for offset in range(0, _CHUNK, PAGE)
                ]
                if not any(pages):  # unloaded meanwhile: nothing to be remembered for other processes
                    raise Unmapped(f"nothing is mapped at {index * _CHUNK:#x}")
                chunk = b"".join(page.ljust(PAGE, b"\0") for page in pages)
            self._chunks[index] = chunk
        return chunk

    @functools.cached_property
    def build_id(self) -> bytes:
        """The GNU build-id, empty without one."""
        for segment in self.segments:
            if segment.type != c.PT_NOTE or segment.file_size > 1 << 16:
                continue
            notes = self._notes(segment)
            position = 0
            while position + 12 <= len(notes):
                name_size, size, kind = struct.unpack_from("<III", notes, position)
                name_end = position + 12 + (name_size + 3 & -4)
                if kind == c.NT_GNU_BUILD_ID and notes[position + 12 : position + 16] == b"GNU\0":
                    return notes[name_end : name_end + size]
                position = name_end + (size + 3 & -4)
        return b""

    def _notes(self, segment: Segment) -> bytes:
        start = segment.address - self.start
        if start + segment.file_size <= len(self._page):
            return self._page[start : start + segment.file_size]
        try:
            return self.read(segment.address, segment.file_size)
        except NotAnImage:
            return b""

    @functools.cached_property
    def dynamic(self) -> tuple[tuple[int, int], ...]:
        """The entries of the dynamic section, addresses at link time (glibc relocates some in memory)."""
        segment = self.segment(c.PT_DYNAMIC)
        if segment is None or segment.memory_size > 1 << 16:
            return ()
        entries = []
        for tag, value in struct.iter_unpack(
            "<QQ", self.read(segment.address, segment.memory_size // 16 * 16)
        ):
            if tag == 0:
                break
            relocated = tag in _ADDRESSES and self._bias and value >= self._bias
            entries.append((tag, value - self._bias if relocated else value))
        return tuple(entries)

    @functools.cached_property
    def _dynamic(self) -> dict[int, int]:
        return dict(self.dynamic)

    def dynamic_value(self, tag: int) -> int:
        """Return the value of a dynamic entry, 0 without one."""
        return self._dynamic.get(tag, 0)

    def text(self, offset: int) -> str:
        """Return a string of the dynamic string table; raises NotAnImage."""
        size = self.dynamic_value(c.DT_STRSZ)
        if offset >= size:
            raise NotAnImage("a name lies outside of the string table")
        data = self.read(self.dynamic_value(c.DT_STRTAB) + offset, min(size - offset, 512))
        return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    @functools.cached_property
    def needed(self) -> tuple[str, ...]:
        """The sonames of the libraries it was linked with."""
        return tuple(self.text(value) for tag, value in self.dynamic if tag == c.DT_NEEDED)

    @functools.cached_property
    def soname(self) -> str:
        """Its own soname, empty without one."""
        value = self._dynamic.get(c.DT_SONAME)
        return "" if value is None else self.text(value)

    @functools.cached_property
    def symbols(self) -> SymbolTable:
        """Its dynamic symbols."""
        return SymbolTable(self)

    @functools.cached_property
    def unwind(self) -> UnwindTable:
        """Its table of functions for unwinding."""
        return UnwindTable(self)

    @functools.cached_property
    def irelative_slots(self) -> dict[int, int]:
        """Where the chosen variant of each IFUNC resolver is kept: resolver -> slot, both link-time addresses."""
        slots = {}
        for table, size in ((c.DT_RELA, c.DT_RELASZ), (c.DT_JMPREL, c.DT_PLTRELSZ)):
            count = self.dynamic_value(size) // 24
            if not self.dynamic_value(table) or count > _MOST_SYMBOLS:
                continue
            data = self.read(self.dynamic_value(table), 24 * count)
            for slot, info, addend in struct.iter_unpack("<QQq", data):
                if info & 0xFFFFFFFF == 37:  # R_X86_64_IRELATIVE
                    slots[addend] = slot
        return slots


def image_at(memory: Memory, address: int, cache: dict[bytes, Image]) -> Image:
    """Return the image whose ELF header lies at an address; raises NotAnImage and memory's Unreadable.

    Images are shared between processes of one domain where the first page holds the build-id: equal pages are equal
    builds then.
    """
    page = memory.read_some(address, PAGE)
    key = memory.domain + page
    image = cache.get(key)
    if image is None:
        if not page:
            raise Unreadable(f"nothing can be read at {address:#x}")
        image = Image(page)
    image.attach(memory, address - image.start)
    if key not in cache and image.build_id and image.build_id in page:
        cache[key] = image
    return image
