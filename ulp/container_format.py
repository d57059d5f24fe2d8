# SPDX-License-Identifier: GPL-2.0-or-later
"""The sections that make a shared object a live patch container: one reader, one writer.

The format is libpulp's (0.3.17), so that its tools and ours take each other's containers. All numbers are
little endian, nothing is padded; a *text* is a u32 length, then that many bytes, with NUL unless said
otherwise. None of the sections is loaded.

``.ulp``
    u8 1; patch id[32]; u32 20, build-id of the target[20]; text: basename of the target;
    u32 number of functions, each: text old name, text new name, u64 address of the old one in the target;
    u32 number of dependencies, each a patch id[32];
    u32 number of references, each: text name in the target, text name in the container, u64 address in the
    target, u64 address in the container (0: look the name up), u8 TLS.
``.ulp.rev``
    u8 2; patch id[32]; u32 20, build-id of the target[20]; text: basename of the target, *without* NUL.
``.ulp.comments``
    The author's text with NUL; optional.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from host.errors import BadDataError

SECTION: Final = ".ulp"
REVERT_SECTION: Final = ".ulp.rev"
COMMENTS_SECTION: Final = ".ulp.comments"
APPLY_TYPE: Final = 1
REVERT_TYPE: Final = 2
PATCH_ID_SIZE: Final = 32
BUILD_ID_SIZE: Final = 20

_U32: Final = struct.Struct("<I")
_REFERENCE: Final = struct.Struct("<QQB")  # target offset, container offset, TLS
_SMALLEST_UNIT: Final = 2 * (4 + 2) + 8
_SMALLEST_REFERENCE: Final = 2 * (4 + 2) + 17


class Unit(NamedTuple):
    """One function that is replaced."""

    old_name: str
    new_name: str
    old_address: int  # its st_value in the target; 0 where the author left it to the name


class Reference(NamedTuple):
    """One place in the container that is to hold the address of something in the target.

    Without ``tls`` the place is 8 bytes; with it 16, a ``tls_index``: the target's module and an offset in
    it.
    """

    target_name: str
    patch_name: str
    target_offset: int  # st_value in the target
    patch_offset: int  # st_value in the container; 0: look ``patch_name`` up
    tls: bool = False


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the sections of a container say."""

    patch_id: bytes  # 32 bytes that name the live patch; nothing vouches for them
    build_id: bytes  # of the target, 20 bytes
    target_name: str  # the target's basename
    units: tuple[Unit, ...] = ()
    references: tuple[Reference, ...] = ()
    dependencies: tuple[bytes, ...] = ()  # patch ids; libpulp has given them up
    comments: str = ""  # the author's words, untrusted; bytes that are not UTF-8 are surrogates


def encode_apply(metadata: Metadata) -> bytes:
    """The bytes of ``.ulp``."""
    out = [bytes((APPLY_TYPE,)), metadata.patch_id, _text(metadata.build_id), _name(metadata.target_name)]
    out.append(_U32.pack(len(metadata.units)))
    for unit in metadata.units:
        out += [_name(unit.old_name), _name(unit.new_name), unit.old_address.to_bytes(8, "little")]
    out += [_U32.pack(len(metadata.dependencies)), *metadata.dependencies]
    out.append(_U32.pack(len(metadata.references)))
    for reference in metadata.references:
        out += [_name(reference.target_name), _name(reference.patch_name)]
        out.append(_REFERENCE.pack(reference.target_offset, reference.patch_offset, reference.tls))
    return b"".join(out)


def encode_revert(metadata: Metadata) -> bytes:
    """The bytes of ``.ulp.rev``."""
    name = metadata.target_name.encode()
    return bytes((REVERT_TYPE,)) + metadata.patch_id + _text(metadata.build_id) + _text(name)


def encode_comments(metadata: Metadata) -> bytes:
    """The bytes of ``.ulp.comments``."""
    return metadata.comments.encode("utf-8", "surrogateescape") + b"\0"


def decode(
    apply: bytes, *, revert: bytes | None = None, comments: bytes | None = None, path: str
) -> Metadata:
    """Read the sections of the container ``path``; raises BadDataError.

    A ``.ulp.rev`` that is there must belong to the same live patch as the ``.ulp``.
    """
    reader = _Reader(apply, where=f"{path}: its {SECTION} section is damaged")
    heading = reader.heading(APPLY_TYPE)
    units = tuple(_unit(reader) for _ in range(reader.count("functions", _SMALLEST_UNIT)))
    count = reader.count("dependencies", PATCH_ID_SIZE)
    dependencies = tuple(reader.take(PATCH_ID_SIZE, "a dependency") for _ in range(count))
    references = tuple(_reference(reader) for _ in range(reader.count("references", _SMALLEST_REFERENCE)))
    reader.end()
    if revert is not None:
        reader = _Reader(revert, where=f"{path}: its {REVERT_SECTION} section is damaged")
        if reader.heading(REVERT_TYPE) != heading:
            reader.refuse(f"it belongs to another live patch than {SECTION}")
        reader.end()
    return Metadata(
        patch_id=heading[0],
        build_id=heading[1],
        target_name=heading[2],
        units=units,
        references=references,
        dependencies=dependencies,
        comments=(comments or b"").partition(b"\0")[0].decode("utf-8", "surrogateescape"),
    )


def _text(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def _name(value: str) -> bytes:
    return _text(value.encode() + b"\0")


def _unit(reader: _Reader) -> Unit:
    return Unit(
        old_name=reader.name("the name of an old function"),
        new_name=reader.name("the name of a new function"),
        old_address=int.from_bytes(reader.take(8, "the address of a function"), "little"),
    )


def _reference(reader: _Reader) -> Reference:
    target, patch = reader.name("the name of a variable"), reader.name("the name of a reference")
    target_offset, patch_offset, tls = _REFERENCE.unpack(reader.take(_REFERENCE.size, "a reference"))
    if tls > 1:
        reader.refuse(f"the TLS mark of a reference is {tls} instead of 0 or 1")
    return Reference(
        target_name=target,
        patch_name=patch,
        target_offset=target_offset,
        patch_offset=patch_offset,
        tls=tls == 1,
    )


class _Reader:
    """Takes the bytes of a section from front to back."""

    def __init__(self, data: bytes, *, where: str) -> None:
        self.data = data
        self.where = where
        self.position = 0

    def refuse(self, what: str) -> NoReturn:
        raise BadDataError(f"{self.where}: {what}")

    def take(self, size: int, what: str) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            self.refuse(f"{what} reaches beyond its end")
        return self.data[start : self.position]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def count(self, what: str, smallest: int) -> int:
        """A number of records that take ``smallest`` bytes or more each."""
        count = self.u32(f"the number of {what}")
        if count * smallest > len(self.data) - self.position:
            self.refuse(f"it has no room for {count} {what}")
        return count

    def name(self, what: str, *, terminated: bool = True) -> str:
        """A text that may be shown and compared as it is; a C compiler makes no other symbols."""
        raw = self.take(self.u32(what), what)
        if terminated and raw[-1:] != b"\0":
            self.refuse(f"{what} does not end in NUL")
        try:
            name = raw[: len(raw) - terminated].decode()
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8")
        if not name or not name.isprintable():
            self.refuse(f"{what} is empty or has unprintable characters")
        return name

    def heading(self, kind: int) -> tuple[bytes, bytes, str]:
        """What both sections begin with: patch id, build-id of the target, its basename."""
        found = self.take(1, "its type")[0]
        if found != kind:
            self.refuse(f"it is of type {found} instead of {kind}; perhaps a newer format")
        patch_id = self.take(PATCH_ID_SIZE, "the patch id")
        size = self.u32("the build-id")
        if size != BUILD_ID_SIZE:
            self.refuse(f"a build-id of {size} instead of {BUILD_ID_SIZE} bytes")
        build_id = self.take(size, "the build-id")
        target_name = self.name("the target's name", terminated=kind == APPLY_TYPE)
        if "/" in target_name:
            self.refuse("the target's name is a path instead of a basename")
        return patch_id, build_id, target_name

    def end(self) -> None:
        if self.position != len(self.data):
            self.refuse(f"{len(self.data) - self.position} bytes too many at its end")
