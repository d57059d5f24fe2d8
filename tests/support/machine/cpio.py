# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the archives that a kernel unpacks as its first root.

Format: "newc" of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Archives may follow each
other in one file.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

# On merged systems (as SUSE's and Debian's are) these are links into /usr.
MERGED = ("bin", "lib", "lib64", "sbin")


class Archive:
    """An archive that is being written; directories above what is added need not be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._known = {PurePosixPath("/")}

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._member("TRAILER!!!", 0, b"")

    def merge(self) -> None:
        """Make /lib and its like links into /usr."""
        for name in MERGED:
            self._add(PurePosixPath("/", name), stat.S_IFLNK | 0o777, f"usr/{name}".encode())

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory, unless it is known."""
        place = _canonical(path)
        if place not in self._known:
            self._add(place, stat.S_IFDIR | mode, b"")

    def file(self, path: str, content: bytes | Path, mode: int = 0o644) -> None:
        """Add a file, unless it is known."""
        place = _canonical(path)
        if place not in self._known:
            data = content if isinstance(content, bytes) else content.read_bytes()
            self._add(place, stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link, unless it is known."""
        place = _canonical(path)
        if place not in self._known:
            self._add(place, stat.S_IFLNK | 0o777, target.encode())

    def _add(self, place: PurePosixPath, mode: int, data: bytes) -> None:
        if place.parent not in self._known:
            self.directory(str(place.parent))
        self._known.add(place)
        self._member(str(place).lstrip("/"), mode, data)

    def _member(self, name: str, mode: int, data: bytes) -> None:
        path = name.encode() + b"\0"
        numbers = (len(self._known), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % number for number in numbers)
        self._file.write(header + path + _padding(len(header) + len(path)))
        self._file.write(data)
        self._file.write(_padding(len(data)))


def _canonical(path: str) -> PurePosixPath:
    place = PurePosixPath(path)
    return (
        PurePosixPath("/usr", *place.parts[1:]) if place.parts[1:2] and place.parts[1] in MERGED else place
    )


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)
