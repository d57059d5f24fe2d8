# SPDX-License-Identifier: GPL-2.0-or-later
"""Relocation of a container for one process: the bytes that its areas shall hold at a given place.

Relocations are data here: where, what kind, which symbol or reference, which addend. Those that the container's ELF
tables carry and the references into the target (``#`` and ``#%`` of a description) go through the same steps.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Final

from ulp import elf_constants as c
from ulp.arch.x86_64 import DYNAMIC_THREAD_POINTER_OFFSET, Relocation
from ulp.container import Container
from ulp.elf import Symbol
from ulp.engines.direct.layout import Protection, Shape, is_cpp_function, may_throw
from ulp.engines.direct.symbols import Found, Symbols
from ulp.process import Object
from ulp.result import Reason, Refusal

_MASK64: Final = (1 << 64) - 1
_WORD: Final = struct.Struct("<Q")
_PC_RELATIVE: Final = frozenset({Relocation.PC32, Relocation.PLT32, Relocation.PC64})
_TLS: Final = frozenset({Relocation.DTPMOD64, Relocation.DTPOFF64, Relocation.TPOFF64})


class Linker:
    """Relocates one container for one process; addresses are the process's own unless said otherwise."""

    def __init__(
        self, container: Container, shape: Shape, *, target: Object, symbols: Symbols, bias: int
    ) -> None:
        self._container = container
        self._shape = shape
        self._target = target
        self._symbols = symbols
        self._bias = bias

    def patches(self) -> Mapping[int, bytes]:
        """Return the relocated bytes by link-time address; raises Refusal."""
        table = self._shape.elf.symbols(".dynsym")
        patches: dict[int, bytes] = {}
        for relocation in self._shape.elf.relocations():
            try:
                kind = Relocation(relocation.type)
            except ValueError:
                raise Refusal(
                    Reason.UNSUPPORTED_CONTAINER, f"it has a relocation of unknown type {relocation.type}"
                ) from None
            if kind is Relocation.NONE:
                continue
            if relocation.symbol >= max(len(table), 1):
                raise Refusal(
                    Reason.UNSUPPORTED_CONTAINER, "a relocation names a symbol that does not exist"
                )
            symbol = table[relocation.symbol] if relocation.symbol else None
            data = self._value(kind, symbol, relocation.addend, relocation.offset)
            if self._shape.area_at(relocation.offset, len(data)) is None:
                raise Refusal(
                    Reason.UNSUPPORTED_CONTAINER, f"a relocation lies outside ({relocation.offset:#x})"
                )
            patches[relocation.offset] = data
        patches.update(self._references())
        return patches

    def _value(self, kind: Relocation, symbol: Symbol | None, addend: int, place: int) -> bytes:
        if kind is Relocation.RELATIVE:
            return _WORD.pack(self._bias + addend & _MASK64)
        if kind in _TLS:
            return self._thread_local(kind, symbol, addend)
        value = self.address_of(symbol) if symbol is not None else self._bias
        if kind in {Relocation.GLOB_DAT, Relocation.JUMP_SLOT}:
            return _WORD.pack(value)
        if kind is Relocation.ABSOLUTE_64:
            return _WORD.pack(value + addend & _MASK64)
        if kind in _PC_RELATIVE:
            distance = value + addend - (self._bias + place)
            if kind is Relocation.PC64:
                return _WORD.pack(distance & _MASK64)
            if not -(1 << 31) <= distance < 1 << 31:
                raise Refusal(Reason.NO_ROOM, f"{symbol.name if symbol else 'it'} is out of reach")
            return struct.pack("<i", distance)
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it has a relocation of type {kind.name}")

    def address_of(self, symbol: Symbol) -> int:
        """Return the address of one of the container's dynamic symbols: its own definition comes first."""
        if symbol.defined:
            return self._bias + symbol.value
        return self._imported(symbol.name, symbol.version, symbol.binding == c.STB_WEAK)

    @functools.cache  # noqa: B019  a Linker lives for one change of one process
    def _imported(self, name: str, version: str, weak: bool) -> int:
        found = self._symbols.find(name, version)
        if found is not None:
            return self._symbols.address(found)
        if weak:
            return 0
        wanted = f"{name}@{version}" if version else name
        raise Refusal(Reason.UNRESOLVED_SYMBOL, f"no object in the process defines {wanted}")

    def _thread_local(self, kind: Relocation, symbol: Symbol | None, addend: int) -> bytes:
        found = None if symbol is None or symbol.defined else self._symbols.find(symbol.name, symbol.version)
        if found is None:
            name = symbol.name if symbol is not None else "a variable of its own"
            raise Refusal(
                Reason.UNRESOLVED_SYMBOL, f"no object in the process defines the thread-local {name}"
            )
        return _WORD.pack(self._thread_local_word(kind, found, addend) & _MASK64)

    def _thread_local_word(self, kind: Relocation, found: Found, addend: int) -> int:
        if kind is Relocation.DTPMOD64:
            return self._symbols.tls_module(found.owner)
        if kind is Relocation.DTPOFF64:
            return found.symbol.value + addend - DYNAMIC_THREAD_POINTER_OFFSET
        return found.symbol.value + addend - self._symbols.tls_static_offset(found.owner)

    def _references(self) -> Mapping[int, bytes]:
        """Return what the references into the target's private parts hold (facts of the .ulp format)."""
        patches: dict[int, bytes] = {}
        for reference in self._container.references:
            place = reference.patch_offset or self._own_value(reference.patch_name)
            if not 0 <= reference.target_offset < self._target.image.end and not reference.tls:
                raise Refusal(
                    Reason.UNSUPPORTED_CONTAINER,
                    f"its reference to {reference.target_name} lies outside of the target",
                )
            if is_cpp_function(reference.target_name) and self._target.image.is_code(
                reference.target_offset
            ):
                raise may_throw(reference.target_name)
            if reference.tls:
                module = self._symbols.tls_module(self._target)
                offset = reference.target_offset - DYNAMIC_THREAD_POINTER_OFFSET
                data = _WORD.pack(module) + _WORD.pack(offset & _MASK64)
            else:
                data = _WORD.pack(self._target.bias + reference.target_offset & _MASK64)
            area = self._shape.area_at(place, len(data))
            if area is None or area.protection & Protection.EXECUTE:
                raise Refusal(
                    Reason.UNSUPPORTED_CONTAINER,
                    f"its reference {reference.patch_name} lies outside of its data",
                )
            patches[place] = data
        return patches

    def _own_value(self, name: str) -> int:
        symbol = self._shape.elf.find(name)
        if symbol is None:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it has no symbol {name}")
        return symbol.value


def new_functions(container: Container, shape: Shape) -> dict[str, int]:
    """Return the link-time addresses of the replacements by name; raises Refusal."""
    found = {}
    for unit in container.units:
        symbol = shape.elf.find(unit.new_name)
        if symbol is None:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it has no function {unit.new_name}")
        area = shape.area_at(symbol.value, 1)
        if area is None or not area.protection & Protection.EXECUTE:
            raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"its {unit.new_name} is not code")
        found[unit.new_name] = symbol.value
    return found


def relocated(shape: Shape, patches: Mapping[int, bytes]) -> tuple[tuple[int, bytes], ...]:
    """Return (link-time address, bytes) per area range with all relocations done; zero-filled ranges are left out."""
    pending = dict(patches)
    done = []
    for address, data in shape.contents:
        end = address + len(data)
        buffer = bytearray(data)
        for place in [place for place in pending if address <= place < end]:
            value = pending.pop(place)
            inside = value[: end - place]
            buffer[place - address : place - address + len(inside)] = inside
            if len(value) > len(inside):
                pending[end] = value[len(inside) :]
        done.append((address, bytes(buffer)))
    done += sorted(pending.items())
    return tuple(done)
