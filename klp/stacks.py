# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions on a thread's stack that keep it from changing over.

A thread that is to be patched has to leave the functions that the live patch replaces, and those of older live
patches that it replaces in turn; one that is to be unpatched has to leave the functions of the live patch itself
(the kernel's klp_check_stack_func()). A line of /proc/PID/task/TID/stack is ``[<0>] FUNCTION+OFFSET/SIZE [MODULE]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from klp.model import KernelPatch
from klp.symbols import KERNEL, Place, Symbol, other_names

_FRAME = re.compile(r"\[<[0-9a-f]+>\] (\S+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\S+?)[ \]].*)?")


class Watch(NamedTuple):
    """What must not be on a stack."""

    functions: frozenset[Symbol] = frozenset()
    modules: frozenset[str] = frozenset()  # none of whose functions must be
    complete: bool = True  # False: a function may have names that are not known


def watch(patches: Iterable[KernelPatch], *, patch: str, unpatching: bool, root: str) -> Watch:
    """Return what must not be on a stack for the transition of ``patch`` to go on."""
    if unpatching:
        return Watch(modules=frozenset([patch]))
    places: set[Place] = set()
    others: set[str] = set()
    for each in patches:
        if each.name != patch:
            others.add(each.name)
            continue
        for target in each.objects:
            places.update(Place(Symbol(each.name, target.name), each.position) for each in target.functions)
    named = frozenset(place.symbol for place in places)
    aliases = other_names(places, root=root)
    return Watch(
        functions=named | (aliases or named), modules=frozenset(others), complete=aliases is not None
    )


def find_inside(stack: Iterable[str], watched: Watch) -> tuple[Symbol, ...] | None:
    """Return the functions on the stack that must not be there, the innermost first, each once.

    None if there are none as far as their names are known, and not all are.
    """
    found: dict[Symbol, None] = {}
    for line in stack:
        frame = _FRAME.fullmatch(line.strip())
        if frame:
            symbol = Symbol(frame[1], frame[2] or KERNEL)
            if symbol in watched.functions or symbol.object in watched.modules:
                found[symbol] = None
    return tuple(found) if found or watched.complete else None
