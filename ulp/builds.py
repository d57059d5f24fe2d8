# SPDX-License-Identifier: GPL-2.0-or-later
"""Which builds of which files processes map: a quick answer for many processes.

A file is read once, from the memory of the first process that maps it, and known by device, inode and name from then
on. A process may have written over its own copy of a page, which would hide the library from us in all others: only
the file's own page is believed beyond the process.

What a change is made by is the build-id that the engine reads in the very process; this only sorts out those that need
no closer look.
"""

from __future__ import annotations

import bisect
import os
from typing import Final, NamedTuple

from host import procfs
from ulp.image import PAGE, Image, image_at
from ulp.memory import Memory, MemoryGone, NotAnImage, Unreadable

_FROM_BEGINNING: Final = b" 00000000 "  # the offset of a file's first mapping, as the kernel prints it

# Linux's Documentation/admin-guide/mm/pagemap.rst: present; a page of a file or of shared memory
_FILE_PAGE: Final = 1 << 63 | 1 << 61


def read_maps(pid: int) -> bytes:
    """Return a process's memory map, read through a thread that lives; empty for kernel threads. Raises OSError."""
    try:
        text = procfs.read(f"/proc/{pid}/maps")
    except ProcessLookupError:
        text = b""
    if not text:
        tid = procfs.live_thread(pid)
        if tid not in {None, pid}:
            text = procfs.read(f"/proc/{pid}/task/{tid}/maps")
    return text


def _is_the_files(pid: int, tid: int | None, address: int) -> bool:
    """Say whether the page at an address, which has just been read, is the mapped file's and no private copy."""
    try:
        descriptor = os.open(f"/proc/{pid}/task/{tid or pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        entry = os.pread(descriptor, 8, address // PAGE * 8)
    finally:
        os.close(descriptor)
    return int.from_bytes(entry, "little") & _FILE_PAGE == _FILE_PAGE


def _executable(lines: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    """Return start, device and inode of all that is executable; the third letter of the permissions says so."""
    found = (line.split(None, 5) for line in lines if line[line.find(b" ") + 3 :][:1] == b"x")
    return [(int(fields[0].partition(b"-")[0], 16), fields[3], fields[4]) for fields in found]


def _has_code(
    code: list[tuple[int, bytes, bytes]], address: int, size: int, file: tuple[bytes, bytes]
) -> bool:
    """Say whether memory of a file, or anonymous memory in its place, is executable; ``code`` is all that is."""
    for start, device, inode in code[bisect.bisect_left(code, (address,)) :]:
        if start >= address + size:
            break
        if (device, inode) == file or inode == b"0":
            return True
    return False


class File(NamedTuple):
    """A file that a process maps from its beginning on, as ELF objects are."""

    address: int  # of its first byte in the process
    identity: tuple[bytes, bytes, bytes]  # device, inode, path: what the kernel says it is
    build_id: bytes

    @property
    def path(self) -> bytes:
        """As the kernel names the file, with " (deleted)" where that is so."""
        return self.identity[2]


class Builds:
    """Finds the builds of files in processes."""

    def __init__(self) -> None:
        self._by_file: dict[tuple[bytes, bytes, bytes], tuple[bytes, int]] = {}
        self._images: dict[bytes, Image] = {}

    def mapped(self, pid: int, maps: bytes) -> dict[bytes, bytes]:
        """Return the builds in a process: build-id -> path. ``maps`` is its memory map. Raises as ``files``."""
        return {file.build_id: file.path for file in self.files(pid, maps)}

    def files(self, pid: int, maps: bytes) -> list[File]:
        """Return the files with a build-id that a process can run code of, by address. ``maps`` is its memory map.

        A debugger, a scanner or a library for backtraces maps other files to read them only. Raises PermissionError
        where the memory map may be read, and not the memory (with CAP_PERFMON alone).
        """
        found: list[File] = []
        end = 0  # of the last library that was found
        fresh: dict[tuple[bytes, bytes, bytes], tuple[bytes, int]] = {}
        lines = maps.split(b"\n")
        code = _executable(lines)
        memory: Memory | None = None
        try:
            for line in lines:
                if _FROM_BEGINNING not in line:
                    continue
                # address range, permissions, offset, device, inode, path; no path where the memory is anonymous
                fields = line.split(None, 5)
                if len(fields) < 6 or fields[4] == b"0" or fields[5][:1] != b"/" or fields[1][:1] != b"r":
                    continue
                address = int(fields[0].partition(b"-")[0], 16)
                key = (fields[3], fields[4], fields[5])
                # the data of a small library begins in the file's first page, too: that is no second library
                if address < end and found[-1].identity == key:
                    continue
                build = self._by_file.get(key)
                if build is None:
                    tid = procfs.live_thread(pid)
                    memory = memory or Memory(pid, tid=tid)
                    build = self._read(memory, address)
                    if _is_the_files(pid, tid, address):
                        fresh[key] = build
                build_id, size = build
                if build_id and _has_code(code, address, size, key[:2]):
                    found.append(File(address, key, build_id))
                    end = address + size
            # a process that runs another program by now has told lies: only what still holds is remembered
            if fresh and read_maps(pid) == maps:
                self._by_file.update(fresh)
        except PermissionError:
            raise
        except (OSError, MemoryGone, Unreadable):
            return found
        finally:
            if memory is not None:
                memory.__exit__()
        return found

    def _read(self, memory: Memory, address: int) -> tuple[bytes, int]:
        """Return the build-id of the object at an address, empty without one, and its size in memory."""
        try:
            image = image_at(memory, address, self._images)
        except NotAnImage:
            return b"", 0
        return image.build_id, image.end - image.start
