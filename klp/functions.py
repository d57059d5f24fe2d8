# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions are patched, and by which live patch.

Of several live patches that replace the same function the one that was enabled last counts; when it is taken back,
the one before does (the kernel's klp_ftrace_handler(), Documentation/livepatch/livepatch.rst). While a live patch
that replaces all others is in transition, it shows their functions among its own.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass

from klp.model import KernelPatch, ranks


class State(enum.StrEnum):
    """What a live patch's function is to the kernel."""

    IN_USE = "in-use"
    OVERRIDDEN = "overridden"  # by a later live patch
    APPLYING = "applying"  # some threads run it, others still the function before
    REVERTING = "reverting"
    NOT_LOADED = "not-loaded"  # the module that it is for
    DISABLED = "disabled"
    UNKNOWN = "unknown"  # something of it could not be read, or nobody knows which live patch came last


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchedFunction:
    """One function in one live patch."""

    object: str  # "vmlinux" or a module
    name: str
    position: int  # which one of several symbols of this name in the object, from 1
    patch: str
    state: State
    overridden_by: str = ""


def patched_functions(
    patches: Sequence[KernelPatch], *, root: str | os.PathLike[str] = "/"
) -> tuple[PatchedFunction, ...]:
    """Return the functions of all live patches, by object and name, the live patch that counts first."""
    order = ranks(patches, root=root)
    holders: dict[tuple[str, str, int], list[tuple[KernelPatch, bool | None]]] = {}
    for patch in patches:
        for target in patch.objects:
            for function in target.functions:
                key = (target.name, function.name, function.position)
                holders.setdefault(key, []).append((patch, target.patched))
    found = []
    for (name, function_name, position), each in sorted(holders.items()):
        each.sort(key=lambda holder: order.get(holder[0].name, 0), reverse=True)
        is_ordered = len(each) == 1 or all(patch.name in order for patch, _ in each)
        top = next((patch.name for patch, _ in each if patch.enabled or patch.transition), "")
        for patch, loaded in each:
            state = _state(patch, loaded=loaded)
            if state in (State.IN_USE, State.APPLYING) and not is_ordered:
                state = State.UNKNOWN
            elif state is State.IN_USE and patch.name != top:
                state = State.OVERRIDDEN
            found.append(
                PatchedFunction(
                    object=name,
                    name=function_name,
                    position=position,
                    patch=patch.name,
                    state=state,
                    overridden_by=top if state is State.OVERRIDDEN else "",
                )
            )
    return tuple(found)


def _state(patch: KernelPatch, *, loaded: bool | None) -> State:
    if patch.enabled is None or patch.transition is None:
        return State.UNKNOWN
    if patch.transition:
        return State.APPLYING if patch.enabled else State.REVERTING
    if not patch.enabled:
        return State.DISABLED
    return State.NOT_LOADED if loaded is False else State.IN_USE
