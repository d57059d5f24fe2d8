# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds initial RAM file systems: cpio archives, packed with the programs that distributions use."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

PROGRAMS = {
    "": [],
    "gzip": ["gzip", "-c"],
    "xz": ["xz", "-c", "--check=crc32"],
    "bzip2": ["bzip2", "-c"],
    "lzma": ["xz", "-c", "--format=lzma"],
    "zstd": ["zstd", "-c", "-q"],
    "lz4": ["lz4", "-c", "-l", "-q"],
}


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a cpio archive of regular files in the format that Linux reads ("newc")."""
    content = b"".join(_entry(name, data) for name, data in files.items()) + _entry("TRAILER!!!", b"")
    return content + b"\0" * (-len(content) % 512)


def packed(content: bytes, program: str) -> bytes:
    """Return the content, packed by one of PROGRAMS."""
    if not program:
        return content
    return subprocess.run(PROGRAMS[program], input=content, stdout=subprocess.PIPE, check=True).stdout


def _entry(name: str, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    numbers = (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded
    return _padded(head) + _padded(data)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
