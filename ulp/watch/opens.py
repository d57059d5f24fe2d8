# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of processes that open a library, long after they started perhaps: fanotify(7) on its file."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from ulp.watch.births import Lost

# linux/fanotify.h
_CLOEXEC, _NONBLOCK, _UNLIMITED_MARKS = 0x1, 0x2, 0x20
_MARK_ADD: Final = 0x1
_OPEN: Final = 0x20
_OVERFLOW: Final = 0x4000
_EVENT: Final = struct.Struct(
    "=IBBHQii"
)  # length, version, reserved, metadata length, mask, descriptor, pid
_AT_FDCWD: Final = -100
_MOST: Final = 10_000  # files; whoever makes more copies of a library is looked at when he starts

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
)


class Opens:
    """Watched files; where the kernel has no fanotify, none."""

    def __init__(self) -> None:
        self._descriptor: int = _libc.fanotify_init(
            _CLOEXEC | _NONBLOCK | _UNLIMITED_MARKS, os.O_RDONLY | os.O_CLOEXEC
        )
        self.problem = "" if self._descriptor >= 0 else os.strerror(ctypes.get_errno())
        self._watched: set[tuple[int, int]] = set()

    def fileno(self) -> int:
        """Return the descriptor, for poll(2); -1 where there is none."""
        return self._descriptor

    def watch(self, path: str) -> None:
        """Watch the file at a path, until it is gone. One that is not there, or cannot be watched, is left out."""
        if self._descriptor < 0:
            return
        try:
            status = os.stat(path)
        except OSError:
            return
        key = (status.st_dev, status.st_ino)
        if (
            len(self._watched) < _MOST
            and key not in self._watched
            and not _libc.fanotify_mark(self._descriptor, _MARK_ADD, _OPEN, _AT_FDCWD, os.fsencode(path))
        ):
            self._watched.add(key)

    def read(self) -> set[int]:
        """Return the processes that have opened a watched file; raises Lost."""
        found: set[int] = set()
        lost = False
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                length, _, _, _, mask, descriptor, pid = _EVENT.unpack_from(data, at)
                if descriptor >= 0:
                    os.close(descriptor)
                lost = lost or bool(mask & _OVERFLOW)
                found.add(pid)
                at += length
        if lost:
            raise Lost
        return found - {0, os.getpid()}
