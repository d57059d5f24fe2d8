# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's live patches, as /sys/kernel/livepatch shows them.

Every kernel has ``enabled``, ``transition`` and OBJECT/FUNCTION,SYMPOS; OBJECT/patched came with 6.1,
``replace`` and ``stack_order`` later (Documentation/ABI/testing/sysfs-kernel-livepatch). What a kernel
does not tell is None, never guessed. The order of stacked live patches is an exception: where no file has it,
it is the order in which their modules were loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from host.errors import Error
from klp import sysfs
from klp.loaded import loaded_modules


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFunction:
    """A function that a live patch replaces."""

    name: str
    position: int  # which one of several symbols of this name in the object, from 1


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelObject:
    """What a live patch changes in vmlinux or in one module."""

    name: str
    patched: bool | None  # False: the module is not loaded; None: the kernel does not tell
    functions: tuple[KernelFunction, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelPatch:
    """One live patch that the kernel knows; None is what it does not tell or what could not be read."""

    name: str  # of its module
    enabled: bool | None
    transition: bool | None
    replace: bool | None
    stack_order: int | None
    objects: tuple[KernelObject, ...]
    problems: tuple[str, ...] = ()  # a sentence for each file that could not be read

    @property
    def in_effect(self) -> bool:
        """Whether every thread runs its functions."""
        return self.enabled is True and self.transition is False


def read_patches(root: str | os.PathLike[str] = "/") -> tuple[KernelPatch, ...]:
    """Return the kernel's live patches as they are stacked, the oldest first; by name where nobody knows.

    Empty where the kernel has no live patching; a patch that vanishes while it is read is left out.
    ``root`` is the top of a saved tree. Raises NoInputError if that is no directory, NotPermittedError if
    the patches' directory may not be listed.
    """
    top = os.fspath(root)
    directory = sysfs.livepatch_directory(top)
    patches = (_read_patch(os.path.join(directory, name)) for name in sysfs.patch_names(top) or ())
    known = [patch for patch in patches if patch is not None]
    order = ranks(known, root=top)
    return tuple(sorted(known, key=lambda patch: (order.get(patch.name, 0), patch.name)))


def ranks(patches: Iterable[KernelPatch], *, root: str | os.PathLike[str] = "/") -> dict[str, int]:
    """Return where each live patch stands on the stack, the higher the later; without those where nobody knows."""
    told = {patch.name: patch.stack_order for patch in patches}
    if len(told) > 1 and any(order is None for order in told.values()):
        loaded = loaded_modules(root)
        return {module.name: -at for at, module in enumerate(loaded) if module.name in told}
    return {name: order for name, order in told.items() if order is not None}


def _read_patch(path: str) -> KernelPatch | None:
    reader = _Reader(path)
    names = reader.directories()
    if names is None:
        return None
    objects = tuple(reader.read_object(name) for name in names)
    enabled, transition = reader.switch("enabled"), reader.switch("transition")
    if enabled is None or transition is None:
        if not os.path.isdir(path):
            return None
        reader.miss("enabled", "transition")
    return KernelPatch(
        name=os.path.basename(path),
        enabled=enabled,
        transition=transition,
        replace=reader.switch("replace"),
        stack_order=reader.number("stack_order"),
        objects=objects,
        problems=tuple(reader.problems),
    )


def _is_missing(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # who may not look cannot say that
        return False
    return False


class _Reader:
    """Reads one live patch's directory, and keeps what went wrong as sentences."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[str] = []

    def number(self, *parts: str) -> int | None:
        try:
            return sysfs.number(os.path.join(self.path, *parts))
        except Error as problem:
            self.problems.append(problem.sentence)
            return None

    def switch(self, *parts: str) -> bool | None:
        value = self.number(*parts)
        return None if value is None else value != 0

    def directories(self, *parts: str) -> list[str] | None:
        try:
            return sysfs.directories(os.path.join(self.path, *parts))
        except Error as problem:
            self.problems.append(problem.sentence)
            return []

    def miss(self, *names: str) -> None:
        """Name the files that every kernel has and this tree has not."""
        paths = (os.path.join(self.path, name) for name in names)
        self.problems.extend(f"{path} is missing" for path in paths if _is_missing(path))

    def read_object(self, name: str) -> KernelObject:
        functions: list[KernelFunction] = []
        for directory in self.directories(name) or ():
            symbol, comma, position = directory.rpartition(",")
            if comma and position.isdecimal():
                functions.append(KernelFunction(name=symbol, position=int(position)))
            else:
                path = os.path.join(self.path, name, directory)
                self.problems.append(f"{path} is not named as a function and its number are")
        return KernelObject(name=name, patched=self.switch(name, "patched"), functions=tuple(functions))
