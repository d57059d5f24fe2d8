# SPDX-License-Identifier: GPL-2.0-or-later
"""What the dynamic section of an ELF file leads to: relocations, symbol versions, the number of symbols.

Layouts: System V gABI, chapter 5, "Relative relocation table"; Linux Standard Base, "Symbol Versioning".
``Image`` is how these functions reach the file: ``read`` and ``name`` raise BadDataError outside of it.
"""

from __future__ import annotations

from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from ulp import elf_constants as c

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RELA: Final = Struct("<QQq")

_DEFINITION: Final = Struct("<HHHHIII")  # Elf64_Verdef: version, flags, index, auxiliaries, hash, aux, next
_NEED: Final = Struct("<HHIII")  # Elf64_Verneed: version, auxiliaries, file, aux, next
_NEED_AUX: Final = Struct("<IHHII")  # Elf64_Vernaux: hash, flags, index, name, next
_FLAG_BASE: Final = 1  # VER_FLG_BASE: stands for the file itself
_INDEX: Final = 0x7FFF  # the bits of a version number that are its index
_MOST_PACKED: Final = 1 << 20  # a word of DT_RELR stands for up to 63 relocations


class Relocation(NamedTuple):
    """One dynamic relocation: ``offset`` is the address of the place, ``symbol`` an index into .dynsym."""

    offset: int
    type: int
    symbol: int
    addend: int
    packed: bool = False  # from DT_RELR: the type is the machine's RELATIVE, the addend what the place holds


class Image(Protocol):
    """An ELF file as the dynamic linker sees it."""

    machine: int

    def tags(self) -> Mapping[int, int]:
        """The entries of the dynamic section by tag."""

    def read(self, address: int, size: int, what: str, /) -> bytes:
        """The bytes at an unrelocated address, all of them from the file."""

    def name(self, offset: int, /) -> str:
        """A string of the dynamic string table."""

    def refuse(self, what: str, /) -> NoReturn:
        """Raise BadDataError about the file."""


def read_relocations(image: Image) -> tuple[Relocation, ...]:
    """All dynamic relocations in the order of glibc's dynamic linker: DT_RELR, DT_RELA, DT_JMPREL."""
    tags = image.tags()
    if c.DT_REL in tags or tags.get(c.DT_PLTREL, c.DT_RELA) != c.DT_RELA:
        image.refuse("relocations without addends, which none of our machines uses")
    start, size = tags.get(c.DT_RELA, 0), tags.get(c.DT_RELASZ, 0)
    plt_start, plt_size = tags.get(c.DT_JMPREL, 0), tags.get(c.DT_PLTRELSZ, 0)
    if tags.get(c.DT_RELAENT, RELA.size) != RELA.size or size % RELA.size or plt_size % RELA.size:
        image.refuse(f"a relocation table that does not consist of {RELA.size}-byte relocations")
    table = image.read(start, size, "relocation table")
    if plt_start + plt_size <= start or start + size <= plt_start:
        table += image.read(plt_start, plt_size, "relocation table of the PLT")
    elif plt_start < start or start + size < plt_start + plt_size:  # allowed: both name the same relocations
        image.refuse("the relocation tables overlap")
    return (
        *_packed_relocations(image),
        *(
            Relocation(place, info & 0xFFFFFFFF, info >> 32, addend)
            for place, info, addend in RELA.iter_unpack(table)
        ),
    )


def _packed_relocations(image: Image) -> Iterator[Relocation]:
    """An even word is a place, an odd one a bitmap of the 63 words behind what was covered so far."""
    size = image.tags().get(c.DT_RELRSZ, 0)
    table = image.read(image.tags().get(c.DT_RELR, 0), size // 8 * 8, "DT_RELR table")
    if table and image.machine not in c.RELATIVE:
        image.refuse("a DT_RELR table for an unknown machine")
    places: list[int] = []
    following = 0
    for (word,) in iter_unpack("<Q", table):
        if word & 1:
            places += [following + 8 * bit for bit in range(63) if word >> (bit + 1) & 1]
            following += 63 * 8
        else:
            places.append(word)
            following = word + 8
        if len(places) > _MOST_PACKED:
            image.refuse("an absurd number of relative relocations")
    for place in places:
        addend = int.from_bytes(
            image.read(place, 8, "place of a relative relocation"), "little", signed=True
        )
        yield Relocation(place, c.RELATIVE[image.machine], 0, addend, packed=True)


def read_versions(image: Image) -> dict[int, tuple[str, str]]:
    """Return by version index its name and, for a needed version, the DT_NEEDED file that it comes from."""
    budget = iter(range(2 * _INDEX))  # for all chains together

    def chain(address: int, count: int, layout: Struct) -> Iterator[tuple[int, tuple[Any, ...]]]:
        for _ in range(count):
            if next(budget, None) is None:
                image.refuse("an absurd number of symbol versions")
            record = layout.unpack(image.read(address, layout.size, "table of symbol versions"))
            yield address, record
            if not record[-1]:
                return
            address += record[-1]

    tags = image.tags()
    found: dict[int, tuple[str, str]] = {}
    for address, need in chain(tags.get(c.DT_VERNEED, 0), tags.get(c.DT_VERNEEDNUM, 0), _NEED):
        _, count, source, first, _ = need
        for _, (_, _, index, version, _) in chain(address + first, count, _NEED_AUX):
            found[index & _INDEX] = image.name(version), image.name(source)
    for address, definition in chain(tags.get(c.DT_VERDEF, 0), tags.get(c.DT_VERDEFNUM, 0), _DEFINITION):
        _, flags, index, count, _, first, _ = definition
        if count and not flags & _FLAG_BASE:
            version = int.from_bytes(image.read(address + first, 4, "table of symbol versions"), "little")
            found[index & _INDEX] = image.name(version), ""
    return found


def read_version_numbers(image: Image, count: int) -> tuple[int, ...]:
    """The version number of each of ``count`` symbols: a version index, and bit 15 for "hidden"."""
    if c.DT_VERSYM not in image.tags():
        return (0,) * count
    table = image.read(image.tags()[c.DT_VERSYM], 2 * count, "symbol version table")
    return Struct(f"<{count}H").unpack(table)


def count_symbols(image: Image) -> int:
    """How many dynamic symbols there are, by the hash tables: DT_HASH says it, DT_GNU_HASH hints at it."""
    tags = image.tags()
    if c.DT_HASH in tags:
        return int.from_bytes(image.read(tags[c.DT_HASH] + 4, 4, "hash table"), "little")
    used = (relocation.symbol for relocation in read_relocations(image))
    return 1 + max(_highest_hashed(image), max(used, default=0))


def _highest_hashed(image: Image) -> int:
    """The highest symbol index that DT_GNU_HASH knows: where its last chain ends, marked by an odd word."""
    start = image.tags().get(c.DT_GNU_HASH, 0)
    if not start:
        return 0
    buckets, first, filter_words, _ = Struct("<IIII").unpack(image.read(start, 16, "hash table"))
    start += 16 + 8 * filter_words
    table = image.read(start, 4 * buckets, "hash table")
    highest = max((int(index) for (index,) in iter_unpack("<I", table)), default=0)
    if highest < first:
        return max(0, int(first) - 1)  # nothing is hashed; all in front of ``first`` exists
    chain = start + 4 * buckets + 4 * (highest - first)
    while not image.read(chain, 4, "hash table")[0] & 1:
        chain += 4
        highest += 1
    return highest
