# SPDX-License-Identifier: GPL-2.0-or-later
"""Which builds of which files processes map: a quick answer for many processes.

A file is read once, from the memory of the first process that maps it, and known by device, inode and name from then
on. A process may have written over its own copy of a page, which would hide the library from us in all others: only
the file's own page is believed beyond the process.

What a change is made by is the build-id that the engine reads in the very process; this only sorts out those that need
no closer look.
"""

from __future__ import annotations

import os
import re
from typing import Final

from host import procfs
from ulp.image import PAGE, Image, image_at
from ulp.memory import Memory, MemoryGone, NotAnImage, Unreadable

# the first mapping of a file, readable, from offset 0: address, device, inode, path
_FIRST_MAPPING: Final = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ r\S+ 0+ (\S+) ([1-9]\d*) +(/.*)$", re.MULTILINE)

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


class Builds:
    """Finds the builds of files in processes."""

    def __init__(self) -> None:
        self._by_file: dict[tuple[bytes, bytes, bytes], bytes] = {}
        self._images: dict[bytes, Image] = {}

    def mapped(self, pid: int, maps: bytes) -> dict[bytes, bytes]:
        """Return the builds in a process: build-id -> path. ``maps`` is its memory map."""
        found: dict[bytes, bytes] = {}
        fresh: dict[tuple[bytes, bytes, bytes], bytes] = {}
        memory: Memory | None = None
        try:
            for match in _FIRST_MAPPING.finditer(maps):
                address, device, inode, path = match.groups()
                key = (device, inode, path)
                build = self._by_file.get(key)
                if build is None:
                    tid = procfs.live_thread(pid)
                    memory = memory or Memory(pid, tid=tid)
                    build = self._read(memory, int(address, 16))
                    if _is_the_files(pid, tid, int(address, 16)):
                        fresh[key] = build
                if build:
                    found[build] = path
            # a process that runs another program by now has told lies: only what still holds is remembered
            if fresh and read_maps(pid) == maps:
                self._by_file.update(fresh)
        except (OSError, MemoryGone, Unreadable):
            return found
        finally:
            if memory is not None:
                memory.__exit__()
        return found

    def _read(self, memory: Memory, address: int) -> bytes:
        try:
            return image_at(memory, address, self._images).build_id
        except NotAnImage:
            return b""
