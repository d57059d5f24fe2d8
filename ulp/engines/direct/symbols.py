# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the symbols that a container needs are in one process, without running anything in it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ulp import elf_constants as c
from ulp.arch.x86_64 import Relocation
from ulp.image import Image
from ulp.memory import NotAnImage, Unreadable
from ulp.process import Object, Process
from ulp.result import Reason, Refusal
from ulp.symbol_table import Symbol

_MASK64: Final = (1 << 64) - 1


class Found(NamedTuple):
    """A definition, and the object that it is in."""

    owner: Object
    symbol: Symbol


class Symbols:
    """Looks symbols up in the objects of ``scope``, in that order."""

    def __init__(self, process: Process, scope: tuple[Object, ...]) -> None:
        self._process = process
        self._scope = scope

    def find(self, name: str, version: str) -> Found | None:
        """Return the first definition; raises NotAnImage where tables are damaged."""
        for item in self._scope:
            symbol = item.image.symbols.find(name, version)
            if symbol is not None:
                return Found(item, symbol)
        return None

    def address(self, found: Found) -> int:
        """Return the address of a function or variable, of the chosen variant for an IFUNC.

        Raises Refusal (unresolved-symbol).
        """
        if found.symbol.type == c.STT_TLS:
            raise Refusal(Reason.UNRESOLVED_SYMBOL, f"{found.symbol.name} is thread-local")
        if found.symbol.type == c.STT_GNU_IFUNC:
            return self._chosen_variant(found)
        return found.owner.bias + found.symbol.value

    def _chosen_variant(self, found: Found) -> int:
        """Return what the resolver of an IFUNC has chosen; it chose before main(), so somebody has kept it."""
        slot = found.owner.image.irelative_slots.get(found.symbol.value)
        candidates: list[Callable[[], int]] = [lambda: self._own_choice(found), lambda: self._slot_of(found)]
        if slot is not None:
            candidates.insert(0, lambda: self._process.memory.word(found.owner.bias + slot))
        for candidate in candidates:
            try:
                address = candidate()
            except Unreadable:
                continue
            if address and self._is_code(address):
                return address
        raise Refusal(
            Reason.UNRESOLVED_SYMBOL,
            f"which variant of {found.symbol.name} the process uses cannot be told from outside",
        )

    def _is_code(self, address: int) -> bool:
        return any(m.start <= address < m.end and m.permissions[2] == "x" for m in self._process.mappings)

    def _own_choice(self, found: Found) -> int:
        """Return the choice of this process's own copy of the same build: same machine, same resolver."""
        own = _own_objects().get(found.owner.image.build_id)
        if own is None:
            return 0
        version = found.symbol.version.encode() or None
        name = found.symbol.name.encode()
        address = _dlvsym(None, name, version) if version else _dlsym(None, name)
        if not address:
            return 0
        if own.bias + own.image.start <= address < own.bias + own.image.end:
            return found.owner.bias + int(address) - own.bias
        # time and gettimeofday resolve into the vdso, which is the same code at another place
        with Process(os.getpid(), images={}) as myself:
            distance = int(address) - myself.vdso()
            vdso = next((m for m in myself.mappings if m.start == myself.vdso()), None)
        if vdso is None or not 0 <= distance < vdso.end - vdso.start or not self._process.vdso():
            return 0  # a preloaded object of this process defines the name
        return self._process.vdso() + distance

    def _slot_of(self, found: Found) -> int:
        """Return what another object's bound reference to the symbol holds."""
        for item in self._scope:
            for slot in _slots(item.image, found.symbol.name):
                value = self._process.memory.word(item.bias + slot)
                start = found.owner.bias + found.owner.image.start
                if start <= value < found.owner.bias + found.owner.image.end and item is not found.owner:
                    return value
        return 0

    # Thread-local storage

    def tls_module(self, owner: Object) -> int:
        """Return the module id by which __tls_get_addr knows an object; raises Refusal."""
        value = self._link_map_field(owner, "_thread_db_link_map_l_tls_modid")
        if not value:
            raise Refusal(Reason.UNRESOLVED_SYMBOL, f"{owner.path} has no thread-local storage")
        return value

    def tls_static_offset(self, owner: Object) -> int:
        """Return how far an object's thread-local block lies below the thread pointer; raises Refusal."""
        value = self._link_map_field(owner, "_thread_db_link_map_l_tls_offset")
        # NO_TLS_OFFSET and FORCED_DYNAMIC_TLS_OFFSET of glibc's link.h: 0, -1 and -2 in its configurations
        if value in {0, _MASK64, _MASK64 - 1}:
            raise Refusal(
                Reason.UNRESOLVED_SYMBOL, f"the thread-local storage of {owner.path} is not static"
            )
        return value

    def _link_map_field(self, owner: Object, descriptor: str) -> int:
        """Read a field of struct link_map that glibc describes for debuggers (nptl_db: bits, count, offset)."""
        found = self.find(descriptor, "GLIBC_PRIVATE")
        if found is None or not owner.link_map:
            raise Refusal(
                Reason.UNRESOLVED_SYMBOL,
                "the C library does not tell where thread-local storage is (not glibc)",
            )
        _, _, offset = struct.unpack("<III", self._process.memory.read(self.address(found), 12))
        return self._process.memory.word(owner.link_map + offset)


def _slots(image: Image, name: str) -> list[int]:
    """Return the link-time addresses of an object's bound references to a symbol."""
    slots = []
    for table, size in ((c.DT_RELA, c.DT_RELASZ), (c.DT_JMPREL, c.DT_PLTRELSZ)):
        if not image.dynamic_value(table):
            continue
        try:
            data = image.read(image.dynamic_value(table), image.dynamic_value(size) // 24 * 24)
            for slot, info, _ in struct.iter_unpack("<QQq", data):
                if info & 0xFFFFFFFF in {Relocation.GLOB_DAT, Relocation.JUMP_SLOT} and (
                    image.symbols.name_at(image.dynamic_value(c.DT_SYMTAB) + 24 * (info >> 32)) == name
                ):
                    slots.append(slot)
        except NotAnImage:
            continue
    return slots


_libc = ctypes.CDLL(None)
_dlsym = _libc.dlsym
_dlsym.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_dlsym.restype = ctypes.c_void_p
_dlvsym = _libc.dlvsym
_dlvsym.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
_dlvsym.restype = ctypes.c_void_p
_own: dict[bytes, Object] = {}


def _own_objects() -> dict[bytes, Object]:
    """Return the objects of this very process by build-id."""
    if not _own:
        with Process(os.getpid(), images={}) as myself:
            _own.update(
                {item.image.build_id: item for item in myself.mapped_objects() if item.image.build_id}
            )
    return _own
