# SPDX-License-Identifier: GPL-2.0-or-later
"""The other names of functions, from /proc/kallsyms.

A live patch names a function by one of its symbols, a stack may name it by another one with the same address: Linux
patches ``__x64_sys_pause`` and shows ``__do_sys_pause``. A line is ``ADDRESS TYPE NAME`` and, in a module, a tab and
``[MODULE]``; who may not see addresses reads zeros (Documentation/admin-guide/sysctl/kernel.rst, kptr_restrict).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from klp import sysfs

KERNEL = "vmlinux"  # the object that is no module

_MOST = 128 << 20  # bytes
_DIGITS = 16  # of an address, as all 64-bit kernels write it
_NAME = _DIGITS + 3  # where the name begins


class Symbol(NamedTuple):
    """A symbol; of several with one name in an object, any."""

    function: str
    object: str  # "vmlinux" or a module


class Place(NamedTuple):
    """A symbol as live patches name it."""

    symbol: Symbol
    position: int  # which one of several with this name, in the order of the list, from 1


def other_names(places: Collection[Place], *, root: str) -> frozenset[Symbol] | None:
    """Return all symbols with the addresses of the places; None if this user, or the tree, has no addresses."""
    try:
        lines = sysfs.whole(os.path.join(root, "proc/kallsyms"), most=_MOST).split(b"\n")
    except OSError:
        return None
    wanted = {_text(place.symbol) for place in places}
    found: dict[bytes, list[bytes]] = {}  # the addresses of each symbol, in the order of the list
    for line in lines:
        if (name := line[_NAME:]) in wanted:
            found.setdefault(name, []).append(line[:_DIGITS])
    addresses = {
        address
        for place in places
        for address in found.get(_text(place.symbol), [])[place.position - 1 : place.position]
    }
    if not any(address.strip(b"0") for address in addresses):
        return None
    return frozenset(_symbol(line[_NAME:]) for line in lines if line[:_DIGITS] in addresses)


def _text(symbol: Symbol) -> bytes:
    module = "" if symbol.object == KERNEL else f"\t[{symbol.object}]"
    return os.fsencode(symbol.function + module)


def _symbol(text: bytes) -> Symbol:
    name, tab, module = text.decode(errors="replace").partition("\t")
    return Symbol(name, module.strip("[]") if tab else KERNEL)
