# SPDX-License-Identifier: GPL-2.0-or-later
"""The dynamic symbols of an object in a process's memory, found by name as the dynamic linker finds them.

Formats: GNU hash table and symbol versions as in the Linux Standard Base core specification, chapter 10, and glibc's
elf/dl-lookup.c; the older hash table as in elf(5).
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ulp import elf_constants as c
from ulp.memory import NotAnImage

if TYPE_CHECKING:
    from ulp.image import Image

_LONGEST_CHAIN: Final = 4096  # symbols of one bucket; linkers make as many buckets as keep it to a handful


class Symbol(NamedTuple):
    """A defined dynamic symbol."""

    name: str
    value: int
    size: int
    type: int
    version: str


class SymbolTable:
    """Looks symbols up in an image; all values are link-time addresses. All methods raise NotAnImage on damage."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._found: dict[tuple[str, str], Symbol | None] = {}

    def name_at(self, address: int) -> str:
        """Return the name in the symbol table entry at a link-time address; raises NotAnImage."""
        return self._image.text(struct.unpack("<I", self._image.read(address, 4))[0])

    def find(self, name: str, version: str = "") -> Symbol | None:
        """Return the definition of a dynamic symbol, as the dynamic linker would choose it.

        An empty version means the default one. Raises NotAnImage on damaged tables.
        """
        key = (name, version)
        if key not in self._found:
            self._found[key] = self._find(name, version)
        return self._found[key]

    def _find(self, name: str, version: str) -> Symbol | None:
        for index in self._candidates(name.encode("utf-8", "surrogateescape")):
            offset, info, _, section, value, size = struct.unpack(
                "<IBBHQQ", self._image.read(self._image.dynamic_value(c.DT_SYMTAB) + 24 * index, 24)
            )
            if section == 0 or info >> 4 not in {1, 2, 10} or self._image.text(offset) != name:
                continue
            own, hidden = self._version(index)
            if version:
                if own and own != version:
                    continue
            elif hidden:
                continue
            return Symbol(name, value, size, info & 15, own)
        return None

    def _candidates(self, name: bytes) -> list[int]:
        if self._image.dynamic_value(c.DT_GNU_HASH):
            return self._gnu_candidates(name)
        if self._image.dynamic_value(c.DT_HASH):
            return self._sysv_candidates(name)
        return []

    def _gnu_candidates(self, name: bytes) -> list[int]:
        table = self._image.dynamic_value(c.DT_GNU_HASH)
        buckets, first, words, shift = struct.unpack("<IIII", self._image.read(table, 16))
        if not buckets or not words:
            return []
        value = 5381
        for byte in name:
            value = value * 33 + byte & 0xFFFFFFFF
        (bloom,) = struct.unpack("<Q", self._image.read(table + 16 + value // 64 % words * 8, 8))
        if not bloom >> value % 64 & bloom >> (value >> shift) % 64 & 1:
            return []
        start = table + 16 + words * 8
        (index,) = struct.unpack("<I", self._image.read(start + value % buckets * 4, 4))
        found: list[int] = []
        if index < first:
            return found
        chain = start + buckets * 4
        for candidate in range(index, index + _LONGEST_CHAIN):
            (entry,) = struct.unpack("<I", self._image.read(chain + (candidate - first) * 4, 4))
            if entry | 1 == value | 1:
                found.append(candidate)
            if entry & 1:
                return found
        raise NotAnImage("a chain of the hash table does not end")

    def _sysv_candidates(self, name: bytes) -> list[int]:
        table = self._image.dynamic_value(c.DT_HASH)
        buckets, chains = struct.unpack("<II", self._image.read(table, 8))
        if not buckets:
            return []
        value = 0
        for byte in name:
            value = (value << 4) + byte
            value = (value ^ value >> 24 & 0xF0) & 0x0FFFFFFF
        (index,) = struct.unpack("<I", self._image.read(table + 8 + value % buckets * 4, 4))
        found: list[int] = []
        while index:
            found.append(index)
            if len(found) > min(chains, _LONGEST_CHAIN):
                raise NotAnImage("a chain of the hash table does not end")
            (index,) = struct.unpack("<I", self._image.read(table + 8 + (buckets + index) * 4, 4))
        return found

    def _version(self, index: int) -> tuple[str, bool]:
        """Return the version that a symbol is defined with, and whether it is hidden (not the default)."""
        table = self._image.dynamic_value(c.DT_VERSYM)
        if not table:
            return "", False
        (number,) = struct.unpack("<H", self._image.read(table + 2 * index, 2))
        return self._versions.get(number & 0x7FFF, ""), bool(number & 0x8000)

    @functools.cached_property
    def _versions(self) -> dict[int, str]:
        address = self._image.dynamic_value(c.DT_VERDEF)
        names: dict[int, str] = {}
        for _ in range(min(self._image.dynamic_value(c.DT_VERDEFNUM), 4096)):
            _, flags, number, _, _, auxiliary, following = struct.unpack(
                "<HHHHIII", self._image.read(address, 20)
            )
            if not flags & 1:  # VER_FLG_BASE names the file, not a version
                (offset,) = struct.unpack("<I", self._image.read(address + auxiliary, 4))
                names[number] = self._image.text(offset)
            if not following:
                break
            address += following
        return names
