# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules that are loaded, as /proc/modules lists them.

A live patch that was disabled or replaced vanishes from /sys/kernel/livepatch, but its module stays loaded until
somebody removes it. The list also tells the order of loading, which is the order in which live patches are stacked:
each is enabled when its module is loaded, and never again (the kernel's klp_init_patch(), add_unformed_module()).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from klp import sysfs

_TAINT_LIVEPATCH = "K"  # Documentation/admin-guide/tainted-kernels.rst
_MOST_DIGITS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModule:
    """One line of /proc/modules."""

    name: str
    references: int | None  # None: a kernel that does not unload modules
    users: tuple[str, ...]  # modules that need it
    is_livepatch: bool  # and has been set up completely

    @property
    def pinned(self) -> bool:
        """Whether something else than other modules holds it.

        A live patch is held while it is in effect. One that is not has been forced through its transition:
        functions of it may still run, so that the kernel never lets it go (klp_force_transition()).
        """
        return self.references is not None and self.references > len(self.users)


def loaded_modules(root: str | os.PathLike[str] = "/") -> tuple[LoadedModule, ...]:
    """Return the loaded modules, the one that was loaded last first; none if the tree does not tell."""
    lines = sysfs.text(os.path.join(root, "proc/modules")).splitlines()
    return tuple(module for module in map(_parse, lines) if module is not None)


def unused_modules(patches: Iterable[str], root: str | os.PathLike[str] = "/") -> tuple[LoadedModule, ...]:
    """Return the live patch modules that are loaded without being one of the ``patches``, by name."""
    known = set(patches)
    unused = (each for each in loaded_modules(root) if each.is_livepatch and each.name not in known)
    return tuple(sorted(unused, key=lambda module: module.name))


def _parse(line: str) -> LoadedModule | None:
    """NAME SIZE REFERENCES USER,USER,|- STATE ADDRESS [(TAINTS)], as kernel/module/procfs.c writes it."""
    fields = line.split()
    if len(fields) < 6:
        return None
    name, _, references, users = fields[:4]
    is_number = references.isascii() and references.isdecimal() and len(references) < _MOST_DIGITS
    return LoadedModule(
        name=name,
        references=int(references) if is_number else None,
        users=tuple(user for user in users.split(",") if user not in ("", "-", "[permanent]")),
        is_livepatch=len(fields) > 6 and _TAINT_LIVEPATCH in fields[6] and fields[4] == "Live",
    )
