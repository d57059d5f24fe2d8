# SPDX-License-Identifier: GPL-2.0-or-later
"""The files in an initial RAM file system (initrd).

It is a row of cpio archives, of which later ones may be compressed (the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst). zstd and lz4 are left to their programs.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import subprocess
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from io import FileIO
from pathlib import Path

from host.errors import BadDataError, Error, ExitStatus, NoInputError, NotPermittedError

_CPIO = (b"070701", b"070702")
_HEADER = 110  # bytes: the magic and 13 numbers of 8 hexadecimal digits
_TRAILER = "TRAILER!!!"
_PROGRAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"\x04\x22\x4d\x18": "lz4"}
_LONGEST_NAME = 4096  # bytes
_MOST = 4 << 30  # bytes of all that is unpacked
_PATIENCE = 30.0  # seconds
_CHUNK = 1 << 18

# Where a kernel's initrd is, {} being its release: SUSE, Debian, image based systems, Fedora
_PLACES = (
    "boot/initrd-{}",
    "boot/initrd.img-{}",
    "usr/lib/modules/{}/initrd",
    "lib/modules/{}/initrd",
    "boot/initramfs-{}.img",
)
_BOOT_PARTITIONS = ("boot/efi", "efi", "boot")  # with entries of the Boot Loader Specification


def find_initrds(release: str, *, root: str = "/") -> tuple[Path, ...]:
    """Return the initrds that a kernel may be booted with; none if there are none, or no directory may be read."""
    found = [Path(root, place.format(release)) for place in _PLACES]
    found += _from_boot_entries(release, root)
    return tuple(dict.fromkeys(path.resolve() for path in found if os.path.isfile(path)))


def _from_boot_entries(release: str, root: str) -> Iterator[Path]:
    """Yield the initrds of entries for the kernel: lines ``version RELEASE`` and ``initrd PATH``."""
    for partition in _BOOT_PARTITIONS:
        for entry in sorted(Path(root, partition, "loader/entries").glob("*.conf")):
            try:
                words = [line.split() for line in entry.read_text(errors="replace").splitlines()]
            except OSError:
                continue
            if ["version", release] in words:
                for path in (line[1] for line in words if line[:1] == ["initrd"] and len(line) == 2):
                    yield Path(root, partition, path.lstrip("/"))


def file_names(path: Path) -> Generator[str]:
    """Yield the names of all files in an initrd.

    Raises NoInputError, NotPermittedError, BadDataError, and Error when it takes too long or a program is missing.
    """
    try:
        with path.open("rb", buffering=0) as file:
            yield from _names(file, _Budget(path))
    except PermissionError as error:
        raise NotPermittedError(f"{path} cannot be read: {error.strerror}") from error
    except FileNotFoundError as error:
        raise NoInputError(f"{path} is not there") from error
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise BadDataError(f"{path} is no initrd that can be read: {error}") from error


class _Budget:
    """What reading one initrd may cost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST
        self._until = time.monotonic() + _PATIENCE

    def spend(self, size: int) -> None:
        """Take bytes off; raises Error when nothing is left."""
        self._left -= size
        if self._left < 0 or time.monotonic() > self._until:
            raise Error(f"{self._path} takes too long to read", status=ExitStatus.UNAVAILABLE)


class _Stream:
    """A stream of archives that can be looked into."""

    def __init__(self, read: Callable[[int], bytes | None], budget: _Budget) -> None:
        self._read = read
        self._budget = budget
        self._ahead = b""
        self.position = 0  # of the next byte that ``take`` gives

    def peek(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        while len(self._ahead) < size and (part := self._read(_CHUNK)):
            self._budget.spend(len(part))
            self._ahead += part
        return self._ahead[:size]

    def take(self, size: int) -> bytes:
        """Return the next bytes and go on behind them; raises EOFError if there are fewer."""
        content = self.peek(size)
        if len(content) < size:
            raise EOFError("it is cut off")
        self.skip(size)
        return content

    def skip(self, size: int) -> None:
        """Go on behind the next bytes; raises EOFError if there are fewer."""
        while size:
            part = min(size, len(self.peek(1)) and len(self._ahead))
            if not part:
                raise EOFError("it is cut off")
            self._ahead = self._ahead[part:]
            self.position += part
            size -= part

    def magic(self) -> bytes:
        """Return what the next archive begins with, behind any padding; empty at the end."""
        while self.peek(1) == b"\0":
            self.skip(len(self._ahead) - len(self._ahead.lstrip(b"\0")))
        return self.peek(6)


def _names(file: FileIO, budget: _Budget) -> Iterator[str]:
    stream = _Stream(file.read, budget)
    while (magic := stream.magic()) in _CPIO:
        yield from _archive(stream)
    if not magic:
        return
    file.seek(stream.position)
    with _unpacker(file, magic) as read:
        stream = _Stream(read, budget)
        while (magic := stream.magic()) in _CPIO:
            yield from _archive(stream)
        if magic:
            raise ValueError("there is something else than archives in it")


@contextlib.contextmanager
def _unpacker(file: FileIO, magic: bytes) -> Iterator[Callable[[int], bytes | None]]:
    """Give what reads the unpacked content of the rest of the file; raises ValueError where it is not packed."""
    program = _PROGRAMS.get(magic[:4])
    if program:
        with _program(program, file) as output:
            yield output
    elif magic.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked.read
    elif magic.startswith(b"BZh"):
        with bz2.BZ2File(file) as bz2_unpacked:
            yield bz2_unpacked.read
    elif magic.startswith((b"\xfd7zXZ", b"\x5d\0\0")):
        with lzma.LZMAFile(file) as lzma_unpacked:
            yield lzma_unpacked.read
    else:
        raise ValueError(f"it begins with {magic!r}, like no archive")


@contextlib.contextmanager
def _program(name: str, file: FileIO) -> Iterator[Callable[[int], bytes | None]]:
    try:
        process = subprocess.Popen(
            [name, "-d", "-c", "-q"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise Error(
            f"the program {name}, which unpacks the initrd, is missing",
            hint=f"install the package {name}",
            status=ExitStatus.UNAVAILABLE,
        ) from error
    assert process.stdout
    try:
        yield process.stdout.read
        if process.wait():
            raise ValueError(f"{name} says that it is damaged")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _archive(stream: _Stream) -> Iterator[str]:
    """Yield the names in one archive; the stream is behind it then."""
    while True:
        header = stream.take(_HEADER)
        if header[:6] not in _CPIO:
            raise ValueError("an entry of its archive has no header")
        size, name_size = int(header[54:62], 16), int(header[94:102], 16)
        if not 0 < name_size <= _LONGEST_NAME:
            raise ValueError(f"a name in its archive has {name_size} bytes")
        name = os.fsdecode(stream.take(name_size)).removesuffix("\0")
        stream.skip(-(_HEADER + name_size) % 4)
        if name == _TRAILER:
            return
        yield name
        stream.skip(size + -size % 4)
