# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patch containers: shared objects that say which functions of which library build they replace.

``read`` is on the path of every ``ulp trigger`` and takes less than a millisecond; ``verify`` checks what
the sections (ulp/container_format.py) promise about the code and data around them.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from host.errors import BadDataError, Error
from host.files import open_regular, read_regular
from host.names import command
from ulp import elf_constants as c
from ulp.container_format import (
    COMMENTS_SECTION,
    REVERT_SECTION,
    SECTION,
    Metadata,
    Reference,
    Unit,
    decode,
    encode_apply,
    encode_comments,
    encode_revert,
)
from ulp.elf import HEADER, SECTION_HEADER, Elf

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "COMMENTS_SECTION",
    "REVERT_SECTION",
    "SECTION",
    "Container",
    "Metadata",
    "Reference",
    "Unit",
    "encode_apply",
    "encode_comments",
    "encode_revert",
    "find_labels",
    "is_container",
    "parse",
    "read",
    "verify",
]

SIZE_LIMIT: Final = 64 << 20  # bytes of a container file; those of distributions take 10 kB to 2 MB
MEMORY_LIMIT: Final = 256 << 20  # bytes of a loaded container
MACHINES: Final = {c.EM_X86_64: "x86_64", c.EM_AARCH64: "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Container(Metadata):
    """A container file: what its sections say, and its bytes."""

    path: str
    image: bytes = field(repr=False)
    word: str = field(default="", compare=False)  # how the command line named it, if it did

    @cached_property
    def elf(self) -> Elf:
        """The file as ELF."""
        return Elf(self.image, name=self.path)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The bug and CVE numbers in the comments, as ``find_labels`` returns them."""
        return find_labels(self.comments)


def read(path: str | os.PathLike[str], *, word: str = "") -> Container:
    """Read a container file, which the command line named by ``word``.

    Raises NoInputError or NotPermittedError where there is nothing to read, BadDataError for all that is no
    sound container.
    """
    name = os.fspath(path)
    return parse(read_regular(name, limit=SIZE_LIMIT), path=name, word=word)


def parse(image: bytes, *, path: str = "container", word: str = "") -> Container:
    """Read a container from the bytes of its file; raises BadDataError."""
    elf = Elf(image, name=path)
    if elf.type != c.ET_DYN or elf.machine not in MACHINES:
        elf.refuse(f"not a shared object for {' or '.join(MACHINES.values())}")
    if elf.loads and elf.loads[-1].end > MEMORY_LIMIT:
        elf.refuse(f"it would take more than {MEMORY_LIMIT >> 20} MiB of memory")
    apply = _content(elf, SECTION)
    if apply is None:
        raise BadDataError(
            f"{path}: not a live patch container, it has no {SECTION} section",
            hint=f"{command('ulp packer')} makes a container from a shared object and a description.",
        )
    revert, comments = _content(elf, REVERT_SECTION), _content(elf, COMMENTS_SECTION)
    metadata = decode(apply, revert=revert, comments=comments, path=path)
    container = Container(path=path, image=image, word=word, **vars(metadata))
    vars(container)["elf"] = elf  # what the cached property would build again
    return container


def _content(elf: Elf, name: str) -> bytes | None:
    found = [section for section in elf.sections if section.name == name]
    if len(found) > 1:
        elf.refuse(f"it has more than one {name} section")
    return elf.content(found[0]) if found else None


def verify(container: Container) -> None:
    """Check what a container promises about its own image; raises BadDataError.

    Each new function must be code in it, each reference a place in it, and each old function must have one
    replacement only.
    """
    elf = container.elf
    replacements: dict[str | int, str] = {}
    for unit in container.units:
        symbol = elf.find(unit.new_name)
        if symbol is None:
            elf.refuse(f"it lacks the function {unit.new_name!r} that is to replace {unit.old_name!r}")
        code = symbol.type in {c.STT_FUNC, c.STT_NOTYPE} and elf.segment_at(symbol.value).flags & c.PF_X
        if not code:
            elf.refuse(f"{unit.new_name!r}, which is to replace {unit.old_name!r}, is not a function")
        for key in (unit.old_name, unit.old_address):
            if key and replacements.setdefault(key, unit.new_name) != unit.new_name:
                elf.refuse(f"it replaces the function {unit.old_name!r} in two ways")
    for reference in container.references:
        address = reference.patch_offset
        if not address:
            place = elf.find(reference.patch_name)
            if place is None:
                elf.refuse(
                    f"it lacks {reference.patch_name!r}, which is to lead to {reference.target_name!r}"
                )
            address = place.value
        elf.segment_at(address, 16 if reference.tls else 8)


def is_container(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file has a ``.ulp`` section; False for what cannot be read.

    Reads the section names only, so that it can be asked about all files of a package. True does not mean
    that the container is sound: ``read`` tells.
    """
    try:
        descriptor = open_regular(os.fspath(path))
    except Error:
        return False
    try:
        return _has_section(lambda offset, size: os.pread(descriptor, size, offset), SECTION)
    except (OSError, OverflowError, struct.error):
        return False
    finally:
        os.close(descriptor)


def _has_section(pread: Callable[[int, int], bytes], name: str) -> bool:
    header = HEADER.unpack(pread(0, HEADER.size))
    if header[0][:6] != b"\x7fELF\x02\x01":
        return False
    offset, entry_size, count, names_index = header[6], header[11], header[12], header[13]
    if not offset or entry_size != SECTION_HEADER.size or names_index >= count:
        return False
    sections = list(SECTION_HEADER.iter_unpack(pread(offset, count * entry_size)))
    if len(sections) < count:  # the file is cut off
        return False
    names = pread(sections[names_index][4], min(sections[names_index][5], SIZE_LIMIT))
    wanted = name.encode() + b"\0"
    return any(names[section[0] : section[0] + len(wanted)] == wanted for section in sections)


def find_labels(comments: str) -> tuple[str, ...]:
    """The bug and CVE numbers in a text, in order, each once: ``bsc#1``, ``jsc#SLE-1``, ``CVE-2024-1``."""
    import re

    found: dict[str, None] = {}
    for word in re.findall(r"(?ai)bsc#[0-9]+|jsc#[a-z]+-[0-9]+|cve-[0-9]+-[0-9]+", comments):
        tracker, mark, number = word.upper().partition("#")
        found[tracker.lower() + mark + number if mark else tracker] = None
    return tuple(found)
