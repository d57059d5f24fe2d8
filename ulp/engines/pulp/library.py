# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds libpulp in a process, which is only read for it and runs on.

It is known by its name or soname and by what it exports, wherever its file lies or lay.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ulp import elf_constants as c
from ulp.engines.pulp import abi
from ulp.image import image_at
from ulp.memory import NotAnImage, Unreadable

if TYPE_CHECKING:
    from host.procfs import Mapping as Mapped
    from ulp.image import Image
    from ulp.memory import Memory

_LONGEST_VERSION = 32  # bytes; 65535.65535.65535 is the greatest that libpulp's tool knows


class Libpulp(NamedTuple):
    """The libpulp of one process, as it was when it was looked at."""

    path: str  # as the kernel names the file, with " (deleted)" where that is so; untrusted
    bias: int
    version: str  # "0.3.17"; empty before there were versions; untrusted
    symbols: Mapping[str, int]  # addresses in the process of all that it exports under abi.SYMBOLS
    loaded: bool  # its constructor has run
    queue_head: int  # bytes before the instructions in its queue; 0 where it has no queue that ulp knows
    error_state: int  # 0: patches are taken; abi.DISABLED_BY_USER; others: an internal error


def find(memory: Memory, mappings: Sequence[Mapped], images: dict[bytes, Image]) -> Libpulp | None:
    """Return the libpulp of a process, None when it has none; of several the one that has been set up.

    One whose variables cannot be read is none. ``mappings`` may be only those of files that can be libpulp. Raises
    MemoryGone.
    """
    found = None
    for mapping in _candidates(mappings):
        try:
            image = image_at(memory, mapping.start, images)
            if not _is_linked(mapping, image, mappings):
                continue
            if abi.NAME not in mapping.path and not image.soname.startswith(abi.NAME):
                continue
            bias = mapping.start - image.start
            symbols = _exported(image, bias)
            version = _version(image, bias, symbols)
            if abi.STATE not in symbols or abi.TRIGGER not in symbols:
                continue
            loaded, _ = abi.STATE_LAYOUT.unpack(memory.read(symbols[abi.STATE], abi.STATE_LAYOUT.size))
            head = _queue_head(image)
            if not head:
                symbols.pop(abi.INSTRUCTIONS, None)
            error = 0
            if abi.ERROR_STATE in symbols:
                (error,) = struct.unpack("<i", memory.read(symbols[abi.ERROR_STATE], 4))
        except (NotAnImage, Unreadable):  # whatever this is, it is no libpulp that could be spoken with
            continue
        found = Libpulp(mapping.path, bias, version, symbols, bool(loaded), head, error)
        if loaded:
            break
    return found


def _candidates(mappings: Sequence[Mapped]) -> list[Mapped]:
    """Return the first mappings of files: those that are called libpulp before the others."""
    first = [m for m in mappings if m.offset == 0 and m.inode and m.permissions[0] == "r"]
    return sorted(first, key=lambda mapping: abi.NAME not in mapping.path)


def _exported(image: Image, bias: int) -> dict[str, int]:
    found = ((name, image.symbols.find(name)) for name in abi.SYMBOLS)
    return {name: bias + symbol.value for name, symbol in found if symbol is not None}


def _queue_head(image: Image) -> int:
    """Return how the instruction queue is laid out, which only its size tells apart."""
    symbol = image.symbols.find(abi.INSTRUCTIONS)
    head = symbol.size - abi.QUEUE_SIZE if symbol is not None else 0
    return head if head in abi.QUEUE_HEADS else 0


def _version(image: Image, bias: int, symbols: Mapping[str, int]) -> str:
    """Return the version, a constant of the build."""
    if abi.VERSION not in symbols:
        return ""
    text = image.read(symbols[abi.VERSION] - bias, _LONGEST_VERSION).partition(b"\0")[0]
    return text.decode("ascii", "backslashreplace")


def _is_linked(first: Mapped, image: Image, mappings: Sequence[Mapped]) -> bool:
    """Say whether its code is where the dynamic linker maps it: this is no file that somebody reads.

    Asked before anything else is: what is read of an image is remembered for all that have the same first page.
    """
    bias = first.start - image.start
    code = next((bias + load.address for load in image.loads if load.flags & c.PF_X), 0)
    return any(
        m.start <= code < m.end
        and "x" in m.permissions
        and (m.device, m.inode) == (first.device, first.inode)
        for m in mappings
    )
