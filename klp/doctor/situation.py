# SPDX-License-Identifier: GPL-2.0-or-later
"""What an examination looks at, read once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from host import config
from host.errors import Error
from host.transactional import is_transactional
from klp import sysfs
from klp.doctor.subscription import Subscription, subscription
from klp.health import Health, read_health
from klp.kernel import MODULE_FOLDERS, listed, module_files, release
from klp.loaded import LoadedModule, unused_modules
from klp.model import KernelPatch, read_patches
from klp.package import LivePatchPackage, find_packages
from klp.supply import Supply, read_supply
from lifecycle.kinds import KERNEL_LIVE_PATCH
from lifecycle.products import Product, read_products

_KERNEL = "modules.builtin"  # what every kernel's package puts into its directory of modules


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """A system; what could not be read is empty, and a sentence in ``problems`` says so."""

    root: str
    release: str  # of the running kernel; empty: not known
    has_livepatching: bool
    patches: tuple[KernelPatch, ...]
    unused: tuple[LoadedModule, ...]
    modules: dict[
        str, str
    ]  # live patch modules on disk for the running kernel: path in the root, kernel's name
    packages: dict[str, LivePatchPackage]  # that own them, by the kernel's names
    health: Health
    warn_days: int  # before the end of maintenance
    kernels: tuple[str, ...] | None  # releases of the kernels of the running one's flavour that are on disk
    knows_products: bool
    base: Product | None
    subscription: Subscription
    supply: Supply
    problems: tuple[str, ...]

    @property
    def flavour(self) -> str:
        """The running kernel's: default, rt."""
        return self.release.rpartition("-")[2]

    @property
    def package(self) -> str:
        """The name of the package with live patches for the running kernel; empty if SUSE makes none for its kind."""
        name = package_for(self.release)
        return name if KERNEL_LIVE_PATCH.fullmatch(name) and self.flavour in ("default", "rt") else ""

    @property
    def newest(self) -> str:
        """The module of the newest live patch that is installed for the running kernel; empty without one."""
        from functools import cmp_to_key

        from host.rpmdb import compare

        def order(left: str, right: str) -> int:
            return compare(self.packages[left].package.evr, self.packages[right].package.evr)

        names = [name for name in self.modules.values() if name in self.packages]
        return max(names, key=cmp_to_key(order), default="")

    def file_of(self, module: str) -> str:
        """Return the name of a module's file without its suffix, as modprobe and dracut know it."""
        paths = (path for path, name in self.modules.items() if name == module)
        return os.path.basename(next(paths, module)).partition(".ko")[0]


def package_for(running: str) -> str:
    """Return what SUSE calls the package of live patches for a kernel."""
    return f"kernel-livepatch-{running.replace('.', '_')}"


def read_situation(root: str) -> Situation:
    """Read all of it; raises what read_patches raises."""
    problems: list[str] = []
    patches = read_patches(root)
    problems += [problem for patch in patches for problem in patch.problems]
    running, modules, found = "", {}, find_packages(())
    kernels: tuple[str, ...] | None = None
    try:
        running = release(root)
        modules = module_files(root)
        kernels = _kernels(root, running)
        found = find_packages(modules.values(), root=root)
        problems += [found.problem.sentence] if found.problem else []
    except Error as problem:
        problems.append(problem.sentence)
    warn_days = _warn_days(root, problems)
    products: tuple[Product, ...] | None = None
    try:
        products = read_products(root)
    except Error as problem:
        problems.append(problem.sentence)
    base = next((product for product in products or () if product.base), None)
    way = subscription(
        base,
        installed=frozenset(product.name for product in products or ()),
        transactional=is_transactional(root),
    )
    supply = Supply()
    if not found.problem:  # what cannot be read now would be waited for once more
        supply = read_supply(
            [each.package for each in found.found.values()],
            names=[package_for(running), f"kernel-{running.rpartition('-')[2]}"] if running else [],
            patterns=way.patterns,
            root=root,
        )
    return Situation(
        root=root,
        release=running,
        has_livepatching=sysfs.patch_names(root) is not None,
        patches=patches,
        unused=unused_modules((patch.name for patch in patches), root),
        modules=modules,
        packages=found.found,
        health=read_health(root),
        warn_days=warn_days,
        kernels=kernels,
        knows_products=products is not None,
        base=base,
        subscription=way,
        supply=supply,
        problems=tuple(dict.fromkeys([*problems, *supply.problems])),
    )


def _warn_days(root: str, problems: list[str]) -> int:
    try:
        return config.load(root=root).warn_days
    except Error as problem:
        problems.append(problem.sentence)
        return config.Config().warn_days


def _kernels(root: str, running: str) -> tuple[str, ...]:
    flavour = running.rpartition("-")[2]
    found = {
        name
        for folder in MODULE_FOLDERS
        for name in listed(os.path.join(root, folder))
        if name.rpartition("-")[2] == flavour and os.path.exists(os.path.join(root, folder, name, _KERNEL))
    }
    return tuple(sorted(found))
