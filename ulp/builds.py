# SPDX-License-Identifier: GPL-2.0-or-later
"""Which builds of which files processes map: a quick answer for many processes.

A file is read once, from the memory of the first process that maps it, and known by device, inode and name from then
on. What a change is made by is the build-id that the engine reads in the very process; this only sorts out those that
need no closer look.
"""

from __future__ import annotations

import re
from typing import Final

from host import procfs
from ulp.image import Image, image_at
from ulp.memory import Memory, MemoryGone, NotAnImage, Unreadable

# the first mapping of a file, readable, from offset 0: address, device, inode, path
_FIRST_MAPPING: Final = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ r\S+ 0+ (\S+) ([1-9]\d*) +(/.*)$", re.MULTILINE)


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
                    memory = memory or Memory(pid, tid=procfs.live_thread(pid))
                    build = fresh[key] = self._read(memory, int(address, 16))
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
