# SPDX-License-Identifier: GPL-2.0-or-later
"""How a container lies in memory, before any process is looked at: its areas, contents, and what it must not have."""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from ulp import elf_constants as c
from ulp.arch.x86_64 import ELF_MACHINE, PAGE, Relocation
from ulp.arch.x86_64_detour import CannotDivert, calls_pointers
from ulp.container import Container
from ulp.elf import Elf
from ulp.result import Reason, Refusal

# sections that only a dynamic linker reads: NOTE, HASH, DYNSYM, STRTAB, RELA, REL, RELR and the GNU ones
_LINKER_SECTIONS: Final = frozenset({3, 4, 5, 7, 9, 11, 19, 0x6FFFFFF6, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF})
_UNWIND_SECTIONS: Final = frozenset({".eh_frame", ".eh_frame_hdr"})
# glibc's _init: calls __gmon_start__ if there is one
_STANDARD_INIT: Final = re.compile(
    rb"(?:\xf3\x0f\x1e\xfa)?\x48\x83\xec\x08\x48\x8b\x05....\x48\x85\xc0\x74\x02\xff\xd0\x48\x83\xc4\x08\xc3",
    re.DOTALL,
)
# gcc's frame_dummy: a jump to register_tm_clones, which begins with two address loads
_JUMP: Final = re.compile(rb"(?:\xf3\x0f\x1e\xfa)?(?:\xe9(?P<near>....)|\xeb(?P<short>.))", re.DOTALL)
_REGISTER_TM_CLONES: Final = re.compile(rb"\x48\x8d\x3d....\x48\x8d\x35", re.DOTALL)
# gcc's __do_global_dtors_aux: compares the byte "completed" with 0 and branches
_STANDARD_FINI: Final = re.compile(rb"(?:\xf3\x0f\x1e\xfa)?\x80\x3d....\x00\x75", re.DOTALL)
_EXCEPTIONS: Final = re.compile(
    r"^(__cxa_(throw|rethrow|begin_catch|allocate_exception)|_Unwind_|__gxx_personality)"
)
# C++ names (Itanium C++ ABI, chapter 5.1) that are no functions, or one that never throws: vtables, typeinfo, delete
_CPP: Final = "_Z"
_HARMLESS_CPP: Final = re.compile(r"_Z(T[VTIS]|d[la]Pv)")


class Protection:
    """PROT_* of mmap(2)."""

    READ = 1
    WRITE = 2
    EXECUTE = 4


class Area(NamedTuple):
    """A range of pages of one kind; ``address`` is the container's own (link-time) address."""

    address: int
    size: int
    protection: int
    anonymous: bool  # else part of the memfd, at the same distance as in memory


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A container's areas in ascending order, and what they hold before relocation."""

    areas: tuple[Area, ...]
    start: int
    end: int
    elf: Elf

    @functools.cached_property
    def file_start(self) -> int:
        """Link-time address of the first byte of the memfd."""
        return min(area.address for area in self.areas if not area.anonymous)

    @functools.cached_property
    def contents(self) -> tuple[tuple[int, bytes], ...]:
        """(link-time address, bytes) of all that is not zero, cut at the areas."""
        parts = []
        for load in self.elf.loads:
            for area in self.areas:
                first = max(load.address, area.address)
                last = min(load.address + load.file_size, area.address + area.size)
                if first < last:
                    parts.append((first, self.elf.read_address(first, last - first)))
        return tuple(parts)

    def area_at(self, address: int, size: int) -> Area | None:
        """Return the area that holds a link-time range."""
        for area in self.areas:
            if area.address <= address and address + size <= area.address + area.size:
                return area
        return None


def shape(container: Container) -> Shape:
    """Lay a container out; raises Refusal (unsupported-container, other-architecture)."""
    elf = container.elf
    _refuse_what_cannot_be_done(elf)
    _refuse_exceptions_of_others(container)
    relro = next((segment for segment in elf.segments if segment.type == c.PT_GNU_RELRO), None)
    areas: list[Area] = []
    for load in elf.loads:
        start = load.address & -PAGE
        end = -(-(load.address + load.memory_size) // PAGE) * PAGE
        if load.flags & c.PF_W:
            if load.flags & c.PF_X:
                raise Refusal(Reason.UNSUPPORTED_CONTAINER, "a segment is writable and executable")
            sealed = start
            if relro is not None and start <= relro.address < end:
                sealed = (relro.address + relro.memory_size) & -PAGE
            areas += _areas(
                (start, sealed, Protection.READ), (sealed, end, Protection.READ | Protection.WRITE)
            )
        elif load.flags & c.PF_X or _has_contents(elf, load.address, load.address + load.memory_size):
            protection = Protection.READ | (Protection.EXECUTE if load.flags & c.PF_X else 0)
            areas.append(Area(address=start, size=end - start, protection=protection, anonymous=False))
    for first, second in zip(areas, areas[1:], strict=False):
        if first.address + first.size > second.address:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, "two segments share a page")
    if all(area.anonymous for area in areas):
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, "it holds no code")
    if areas[-1].address + areas[-1].size - areas[0].address > 1 << 28:
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, "its segments span more than 256 MiB")
    return Shape(areas=tuple(areas), start=areas[0].address, end=areas[-1].address + areas[-1].size, elf=elf)


def _areas(*ranges: tuple[int, int, int]) -> list[Area]:
    return [
        Area(address=start, size=end - start, protection=protection, anonymous=True)
        for start, end, protection in ranges
        if start < end
    ]


def _has_contents(elf: Elf, start: int, end: int) -> bool:
    """Say whether code could read anything in a read-only range: more than tables of the dynamic linker.

    Tables for unwinding do not count: nobody finds them, as nothing registers them.
    """
    sections = [s for s in elf.sections if s.flags & c.SHF_ALLOC and start <= s.address < end and s.size]
    return not sections or any(
        section.type not in _LINKER_SECTIONS and section.name not in _UNWIND_SECTIONS for section in sections
    )


def _refuse_what_cannot_be_done(elf: Elf) -> None:
    if elf.machine != ELF_MACHINE:
        raise Refusal(Reason.OTHER_ARCHITECTURE, f"the container is for ELF machine {elf.machine}")
    if any(segment.type == c.PT_TLS for segment in elf.segments):
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, "it has thread-local variables of its own")
    for symbol in elf.symbols(".dynsym"):
        if symbol.defined and symbol.type == c.STT_GNU_IFUNC:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it chooses {symbol.name} at load time (IFUNC)")
        if not symbol.defined and _EXCEPTIONS.match(symbol.name):
            raise Refusal(
                Reason.UNSUPPORTED_CONTAINER,
                f"it uses C++ exceptions ({symbol.name}), which cannot pass through code that is added from outside",
            )
    for relocation in elf.relocations():
        if relocation.type in {Relocation.IRELATIVE, Relocation.COPY, Relocation.TLSDESC}:
            raise Refusal(
                Reason.UNSUPPORTED_CONTAINER,
                f"it has a relocation of type {Relocation(relocation.type).name}",
            )
    _refuse_constructors(elf)


def _refuse_exceptions_of_others(container: Container) -> None:
    """No unwinder knows a container's code: an exception that reaches it on its way to a handler ends the process."""
    for symbol in container.elf.symbols(".dynsym"):
        if (
            not symbol.defined
            and symbol.type not in {c.STT_OBJECT, c.STT_TLS}
            and is_cpp_function(symbol.name)
        ):
            raise may_throw(symbol.name)
    for unit in container.units:
        new = container.elf.find(unit.new_name) if is_cpp_function(unit.old_name) else None
        try:
            by_address = new and calls_pointers(container.elf.read_address(new.value, new.size))
        except CannotDivert as error:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it may call C++ functions: {error}") from error
        if by_address:
            raise may_throw(f"{unit.new_name} calls some by their addresses")


def is_cpp_function(name: str) -> bool:
    """Say whether a symbol that is no variable can be a C++ function that throws exceptions, by its name."""
    return name.startswith(_CPP) and not _HARMLESS_CPP.match(name)


def may_throw(which: str) -> Refusal:
    """Return the refusal of a container that calls C++ functions."""
    return Refusal(
        Reason.UNSUPPORTED_CONTAINER,
        f"it calls C++ functions ({which}), whose exceptions cannot pass through code that is added from outside",
    )


def _refuse_constructors(elf: Elf) -> None:
    """Nothing of a container runs when it is loaded or when the process ends.

    What every toolchain puts in is known to be without effect.
    """
    init = elf.tags().get(c.DT_INIT)
    if init and not _STANDARD_INIT.match(_code(elf, init, 32)):
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, "it has code that must run when it is loaded (_init)")
    if not all(_is_frame_dummy(elf, address) for address in _array(elf, c.DT_INIT_ARRAY, c.DT_INIT_ARRAYSZ)):
        raise Refusal(
            Reason.UNSUPPORTED_CONTAINER, "it has a constructor, code that must run when it is loaded"
        )
    for address in _array(elf, c.DT_FINI_ARRAY, c.DT_FINI_ARRAYSZ):
        if not _STANDARD_FINI.match(_code(elf, address, 16)):
            raise Refusal(
                Reason.UNSUPPORTED_CONTAINER, "it has a destructor, code that must run when it is unloaded"
            )


def _array(elf: Elf, start_tag: int, size_tag: int) -> list[int]:
    """Return the functions in an array of the dynamic section, as link-time addresses."""
    start, size = elf.tags().get(start_tag, 0), elf.tags().get(size_tag, 0)
    targets = {r.offset: r.addend for r in elf.relocations() if start <= r.offset < start + size}
    return [
        targets.get(slot) or struct.unpack("<Q", elf.read_address(slot, 8))[0]
        for slot in range(start, start + size, 8)
    ]


def _is_frame_dummy(elf: Elf, address: int) -> bool:
    match = _JUMP.match(_code(elf, address, 16))
    if match is None:
        return False
    if match["near"] is not None:
        distance = struct.unpack("<i", match["near"])[0]
    else:
        distance = struct.unpack("b", match["short"])[0]
    return bool(_REGISTER_TM_CLONES.match(_code(elf, address + match.end() + distance, 16)))


def _code(elf: Elf, address: int, size: int) -> bytes:
    """Return up to ``size`` bytes at a link-time address, fewer where the file ends."""
    for load in elf.loads:
        if load.address <= address < load.address + load.file_size:
            return elf.read_address(address, min(size, load.address + load.file_size - address))
    return b""
