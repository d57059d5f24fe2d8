# SPDX-License-Identifier: GPL-2.0-or-later
"""Which live patch package the running kernel runs, as opposed to the one that is installed.

A package that was installed without its module being loaded (transactional update, LIVEPATCH_KERNEL=never, a
script that failed) leaves the earlier live patch in effect, whose file is gone from the disk by then. SUSE's names
tell what it was: livepatch_VERSION_RELEASE, of the package kernel-livepatch-KERNEL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from host.errors import Error
from klp.kernel import module_files, release
from klp.model import KernelPatch, read_patches
from klp.package import LivePatchPackage, find_packages

_MODULE = re.compile(r"livepatch_([0-9]+)_(\w+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """An enabled live patch, and its package as it was when its module was loaded."""

    patch: KernelPatch
    name: str  # of the package; "" where nobody knows
    edition: str  # VERSION-RELEASE of it; "" where nobody knows
    package: LivePatchPackage | None  # None: the module's file belongs to no installed package

    @property
    def is_initial(self) -> bool:
        """Whether it is the first one of its kernel, before which there is none."""
        return self.package.is_initial if self.package else self.edition.startswith("1-")


def find_running(root: str = "/") -> tuple[tuple[Running, ...], Error | None]:
    """Return the enabled live patches, the one that counts last, and why their packages may be wrong.

    Raises what read_patches raises, and BadDataError if the tree does not tell which kernel runs.
    """
    names = {patch.name: patch for patch in read_patches(root) if patch.enabled}
    if not names:
        return (), None
    packages = find_packages(names, root=root)
    found, problem = packages.found, packages.problem
    usual = ""
    if names.keys() - found.keys():
        usual, problem = _usual_name(root)
    return tuple(_running(patch, found.get(name), usual) for name, patch in names.items()), problem


def _usual_name(root: str) -> tuple[str, Error | None]:
    """Return the package of this kernel's live patches: the one whose modules lie there, or as SUSE calls it."""
    there = find_packages(module_files(root).values(), root=root)
    owners = {each.package.name for each in there.found.values()}
    if len(owners) == 1:
        return owners.pop(), there.problem
    return f"kernel-livepatch-{release(root).replace('.', '_')}", there.problem


def _running(patch: KernelPatch, package: LivePatchPackage | None, usual: str) -> Running:
    if package is not None:
        return Running(
            patch=patch, name=package.package.name, edition=package.package.edition, package=package
        )
    match = _MODULE.fullmatch(patch.name)
    if match is None:
        return Running(patch=patch, name="", edition="", package=None)
    edition = f"{match[1]}-{match[2].replace('_', '.')}"
    return Running(patch=patch, name=usual, edition=edition, package=None)
