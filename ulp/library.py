# SPDX-License-Identifier: GPL-2.0-or-later
"""The symbols of a library or program, from the file itself or from what ``ulp extract`` wrote about it.

The JSON is libpulp's (its tools/extract.c): ``{"library": {"name": BASENAME, "buildid": HEX, "symbols":
[{"name": ..., "offset": st_value, "size": st_size, "st_info": ..., "st_other": ...}, ...]}}``, all symbols
with a name, those of .dynsym first, each table from its end. A symbol with a version that is not the default
one has ``"version_hidden": true`` more, which libpulp passes over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from host.errors import BadDataError
from host.files import read_regular
from host.names import command
from ulp import elf_constants as c
from ulp.elf import Elf, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIZE_LIMIT: Final = 1 << 30  # bytes of a target; programs with debug information are large


class SymbolError(LookupError):
    """A name does not lead to one symbol; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """What a description can refer to in a target or a container."""

    path: str
    name: str  # the basename by which processes are searched
    build_id: bytes
    machine: int | None  # EM_X86_64 ..., None where the JSON does not tell
    exported: Mapping[str, tuple[Symbol, ...]]  # defined in .dynsym, default versions first
    private: Mapping[str, tuple[Symbol, ...]]  # defined in .symtab only

    def symbol(self, name: str) -> Symbol:
        """The symbol of this name; an exported one hides private ones, a default version the others.

        Raises SymbolError where there is none, or where several private ones are at different addresses.
        """
        exported = self.exported.get(name, ())
        found = (
            [symbol for symbol in exported if not symbol.version_hidden]
            or exported
            or self.private.get(name)
        )
        if not found:
            raise SymbolError(f"symbol {name} is not present in {self.path}")
        if len({symbol.value for symbol in found}) > 1:
            addresses = ", ".join(f"{symbol.value:#x}" for symbol in found)
            raise SymbolError(f"symbol {name} is defined more than once in {self.path}, at {addresses}")
        return found[0]


def read_library(path: str) -> Library:
    """Read an ELF file, or the JSON about one; raises NoInputError, NotPermittedError or BadDataError."""
    data = read_regular(path, limit=SIZE_LIMIT)
    if data[:4] == b"\x7fELF":
        return from_elf(Elf(data, name=path))
    return from_json(data, path=path)


def from_elf(elf: Elf) -> Library:
    """The symbols of an ELF file; raises BadDataError."""
    return Library(
        path=elf.path,
        name=os.path.basename(elf.path),
        build_id=elf.build_id(),
        machine=elf.machine,
        exported=_by_name(elf.symbols(".dynsym")),
        private=_by_name(elf.symbols(".symtab")),
    )


def from_json(data: bytes, *, path: str) -> Library:
    """The symbols that ``ulp extract`` found; raises BadDataError."""
    import json

    try:
        library: Any = json.loads(data)["library"]
        name, build_id = str(library["name"]), bytes.fromhex(library["buildid"])
        symbols = [_symbol(entry) for entry in library["symbols"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadDataError(
            f"{path}: neither an ELF file nor the JSON of ulp extract",
            hint=f"Name the library itself, or run {command('ulp extract')} on it again.",
        ) from error
    return Library(
        path=path,
        name=name,
        build_id=build_id,
        machine=None,
        exported=_by_name(symbol for symbol in symbols if symbol.binding != c.STB_LOCAL),
        private=_by_name(symbol for symbol in symbols if symbol.binding == c.STB_LOCAL),
    )


def to_json(elf: Elf, *, debuginfo: Elf | None = None) -> bytes:
    """Return what ``from_json`` reads about a file, one line a symbol; raises BadDataError.

    ``debuginfo``: the file with the symbols that were stripped off, which must be of the same build.
    """
    import json

    build_id = elf.build_id()
    if not build_id:
        raise BadDataError(f"{elf.path}: it has no build-id", hint="Link it with -Wl,--build-id=sha1.")
    symbols = [*reversed(elf.symbols(".dynsym")), *reversed(elf.symbols(".symtab"))]
    if debuginfo is not None:
        if debuginfo.section_build_id() != build_id:
            raise BadDataError(
                f"{debuginfo.path}: its build-id is {debuginfo.section_build_id().hex() or 'missing'}, "
                f"that of {elf.path} is {build_id.hex()}"
            )
        symbols += reversed(debuginfo.symbols(".symtab"))
    head = {"name": os.path.basename(elf.path), "buildid": build_id.hex()}
    lines = ",\n".join(json.dumps(_entry(symbol)) for symbol in symbols if symbol.name)
    text = json.dumps({"library": {**head, "symbols": []}})
    return (text.removesuffix("]}}") + f"\n{lines}\n]}}}}\n").encode("ascii")


def _entry(symbol: Symbol) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": symbol.name,
        "offset": symbol.value,
        "size": symbol.size,
        "st_info": symbol.info,
        "st_other": symbol.other,
    }
    return {**entry, "version_hidden": True} if symbol.defined and symbol.version_hidden else entry


def _symbol(entry: Any) -> Symbol:
    """JSON does not tell the section; what is undefined has address 0, where only a TLS variable can be."""
    name, value, size, info, other = (
        entry[key] for key in ("name", "offset", "size", "st_info", "st_other")
    )
    numbers = (value, size, info, other)
    if not isinstance(name, str) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(name)
    index = c.SHN_ABS if value or info & 15 == c.STT_TLS else c.SHN_UNDEF
    return Symbol(name, value, size, info, other, index, version_hidden=bool(entry.get("version_hidden")))


def _by_name(symbols: Iterable[Symbol]) -> dict[str, tuple[Symbol, ...]]:
    found: dict[str, tuple[Symbol, ...]] = {}
    for symbol in symbols:
        if symbol.defined and symbol.name and symbol.type not in {c.STT_SECTION, c.STT_FILE}:
            found[symbol.name] = (*found.get(symbol.name, ()), symbol)
    return found
