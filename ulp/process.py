# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process maps: its program, its libraries, and in which order its dynamic linker looks into them.

Nothing here stops the process; a list that the dynamic linker is changing meanwhile is refused (``Loading``).
The list of objects: struct r_debug and struct link_map of <link.h>.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from host import procfs
from host.procfs import Mapping
from ulp import elf_constants as c
from ulp.image import PAGE, Image, image_at
from ulp.memory import Memory, NotAnImage, Unreadable

_AT_PHDR: Final = 3
_AT_SYSINFO_EHDR: Final = 33
_RT_CONSISTENT: Final = 0
_MOST_OBJECTS: Final = 10_000


class Loading(Exception):
    """The dynamic linker is adding or removing objects right now."""


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One ELF object in the process; addresses in ``image`` plus ``bias`` are addresses in the process."""

    path: str  # as the kernel names the file, with " (deleted)" where that is so; untrusted
    bias: int
    image: Image
    link_map: int = 0  # address of its struct link_map, 0 when the dynamic linker does not know it
    linked_name: int = 0  # address of the name by which the dynamic linker knows it

    def is_mapped(self, memory: Memory) -> bool:
        """Say whether it is there still; raises MemoryGone."""
        return self.image.is_at(memory, self.bias)


class Process:
    """One process, looked at through a thread that lives. A context manager: it holds its memory open."""

    def __init__(self, pid: int, *, images: dict[bytes, Image]) -> None:
        """Raise ProcessLookupError when it is gone, PermissionError when it is not this user's."""
        self.pid = pid
        tid = procfs.live_thread(pid)
        if tid is None:
            raise ProcessLookupError(pid)
        self.tid = tid
        self.name = procfs.name(pid)
        self._images = images
        try:
            self.memory = Memory(pid, tid=tid)
        except FileNotFoundError:
            raise ProcessLookupError(pid) from None
        self.mappings: tuple[Mapping, ...] = ()
        self._at: dict[int, Image] = {}  # what was found at addresses since the map was read
        try:
            self.refresh()
        except BaseException:
            self.memory.__exit__()
            raise

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.memory.__exit__()

    def refresh(self) -> None:
        """Read the memory map anew; raises ProcessLookupError and PermissionError."""
        try:
            text = procfs.read(f"/proc/{self.pid}/task/{self.tid}/maps")
        except FileNotFoundError:
            raise ProcessLookupError(self.pid) from None
        self.mappings = procfs.parse_maps(text)
        self._at.clear()

    def mapped_objects(self) -> Iterator[Object]:
        """Yield the ELF objects that are mapped from files and have code, by address, whoever mapped them.

        A file that is mapped to be read only, as a debugger does it with other processes' libraries, is none of them.
        """
        end, file = 0, ("", 0)
        for number, mapping in enumerate(self.mappings):
            # the data of a small library begins in the file's first page, too: that is no second library
            if mapping.start < end and (mapping.device, mapping.inode) == file:
                continue
            if mapping.offset == 0 and mapping.inode and mapping.permissions[0] == "r":
                try:
                    found = self._object(mapping.start, mapping.path)
                except (NotAnImage, Unreadable):
                    continue
                if self._has_code(number, found.bias + found.image.end):
                    end, file = found.bias + found.image.end, (mapping.device, mapping.inode)
                    yield found

    def _has_code(self, number: int, end: int) -> bool:
        """Say whether memory of a mapping's file, or anonymous memory in its place, is executable before an end."""
        first = self.mappings[number]
        for mapping in itertools.islice(self.mappings, number, None):
            if mapping.start >= end:
                break
            same = (mapping.device, mapping.inode) == (first.device, first.inode)
            if "x" in mapping.permissions and (same or not mapping.inode):
                return True
        return False

    def _object(self, address: int, path: str, link_map: int = 0, linked_name: int = 0) -> Object:
        elf = self._at.get(address)
        if elf is None:
            elf = self._at[address] = image_at(self.memory, address, self._images)
        return Object(path, address - elf.start, elf, link_map, linked_name)

    def program(self) -> Object:
        """Return the main program; raises NotAnImage and Unreadable."""
        header = procfs.auxiliary_vector(self.pid, self.tid).get(_AT_PHDR, 0) & -PAGE
        path = next((m.path for m in self.mappings if m.start <= header < m.end), "")
        return self._object(header, path)

    def vdso(self) -> int:
        """Return the address of the vdso, 0 without one."""
        return procfs.auxiliary_vector(self.pid, self.tid).get(_AT_SYSINFO_EHDR, 0)

    def linked_objects(self) -> tuple[Object, ...]:
        """Return the objects that the dynamic linker knows, in its order, the program first.

        Empty for a static program. Raises Loading, and MemoryGone when the process ends.
        """
        try:
            program = self.program()
            debug = self._debug_address(program)
            if not debug or (program.image.segment(c.PT_INTERP) is None and not program.image.soname):
                return ()
            return tuple(self._walk(debug))
        except (NotAnImage, Unreadable) as error:
            raise Loading from error

    def _debug_address(self, program: Object) -> int:
        """Return the address of the dynamic linker's struct r_debug, 0 without one."""
        segment = program.image.segment(c.PT_DYNAMIC)
        if segment is not None:
            words = self.memory.words(program.bias + segment.address, segment.memory_size // 16 * 2)
            entries = dict(zip(words[::2], words[1::2], strict=True))
            if entries.get(c.DT_DEBUG):
                return entries[c.DT_DEBUG]
        # the dynamic linker was started as the program, with the real one as its argument
        symbol = program.image.symbols.find("_r_debug")
        return program.bias + symbol.value if symbol is not None else 0

    def _walk(self, debug: int) -> Iterator[Object]:
        seen: set[int] = set()
        while debug:
            # struct r_debug {int version; link_map *map; void *brk; int state; void *base;} and, from version 2 on,
            # the next namespace behind it (glibc 2.35, struct r_debug_extended)
            version, entry, _, state, _, following = self.memory.words(debug, 6)
            if state & 0xFFFFFFFF != _RT_CONSISTENT:
                raise Loading
            while entry and entry not in seen:
                seen.add(entry)
                if len(seen) > _MOST_OBJECTS:
                    raise Loading
                # struct link_map {Elf64_Addr l_addr; char *l_name; Elf64_Dyn *l_ld; link_map *l_next, *l_prev;}
                bias, name, dynamic, link_next, _ = self.memory.words(entry, 5)
                for header in self._headers_below(dynamic):
                    found = self._object(header.start, header.path, entry, name)
                    if (found.bias - bias) % (1 << 64) == 0:  # l_addr counts modulo 2**64
                        yield found
                        break
                entry = link_next
            debug = following if version & 0xFFFFFFFF >= 2 else 0

    def _headers_below(self, address: int) -> Iterator[Mapping]:
        """Yield the mappings that can hold the ELF header of the object that holds an address, nearest first."""
        position = bisect.bisect_right(self.mappings, address, key=lambda mapping: mapping.start) - 1
        if position < 0:
            return
        holder = self.mappings[position]
        for mapping in self.mappings[position::-1]:
            if mapping.offset == 0 and (mapping.inode, mapping.path) == (holder.inode, holder.path):
                yield mapping

    def is_64_bit(self) -> bool:
        """Say whether the program is an ELF object of this machine's own kind."""
        try:
            descriptor = os.open(f"/proc/{self.pid}/task/{self.tid}/exe", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            return os.pread(descriptor, 6, 0)[4:6] in {b"\x02\x01", b""}
        finally:
            os.close(descriptor)


def scope(objects: tuple[Object, ...], target: Object, needed: tuple[str, ...]) -> tuple[Object, ...]:
    """Return the objects in the order in which a live patch of ``target`` looks for symbols.

    As for a library that the target itself would need: first what the program and its libraries see (the program,
    preloaded objects, and what they need), then the target, what it and the container need, and last all others.
    """
    by_name: dict[str, Object] = {}
    for item in objects:
        for name in (item.image.soname, os.path.basename(item.path.removesuffix(" (deleted)"))):
            by_name.setdefault(name, item)
    order: dict[int, Object] = {}

    def add(roots: list[Object]) -> None:
        queue = list(roots)
        while queue:
            item = queue.pop(0)
            if id(item) not in order:
                order[id(item)] = item
                queue += [by_name[name] for name in item.image.needed if name in by_name]

    if objects:
        program = objects[0]
        wanted = set(program.image.needed)
        preloaded = []
        for item in objects[1:]:
            if item.image.soname in wanted:
                break
            preloaded.append(item)
        # breadth first over the program and the preloaded objects together, as ld.so does
        add([program, *preloaded] if len(preloaded) < len(objects) - 1 else [program])
    add([target, *(by_name[name] for name in needed if name in by_name)])
    add(list(objects))
    return tuple(order.values())
