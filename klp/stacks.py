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

KERNEL = "vmlinux"  # the object that is no module

_FRAME = re.compile(r"\[<[0-9a-f]+>\] (\S+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\S+?)[ \]].*)?")


class Inside(NamedTuple):
    """A function that a thread has to leave."""

    function: str
    object: str  # "vmlinux" or the module that it is in, a live patch's too


class Watch(NamedTuple):
    """What must not be on a stack."""

    functions: frozenset[Inside] = frozenset()
    modules: frozenset[str] = frozenset()  # none of whose functions must be


def watch(patches: Iterable[KernelPatch], *, patch: str, unpatching: bool) -> Watch:
    """Return what must not be on a stack for the transition of ``patch`` to go on."""
    if unpatching:
        return Watch(modules=frozenset([patch]))
    functions: set[Inside] = set()
    others: set[str] = set()
    for each in patches:
        if each.name != patch:
            others.add(each.name)
            continue
        for target in each.objects:
            functions.update(Inside(function.name, target.name) for function in target.functions)
    return Watch(functions=frozenset(functions), modules=frozenset(others))


def find_inside(stack: Iterable[str], watched: Watch) -> tuple[Inside, ...]:
    """Return the functions on the stack that must not be there, the innermost first, each once."""
    found: dict[Inside, None] = {}
    for line in stack:
        frame = _FRAME.fullmatch(line.strip())
        if frame:
            inside = Inside(frame[1], frame[2] or KERNEL)
            if inside in watched.functions or inside.object in watched.modules:
                found[inside] = None
    return tuple(found)
