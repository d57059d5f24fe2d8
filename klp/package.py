# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM that a live patch module came in, and what the live patch fixes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from host import apart, rpmdb
from host.errors import Error
from host.rpmdb import DatabaseError
from klp import sysfs
from klp.fixes import Fixes, Info, read_fixes, read_info
from klp.kernel import module_files
from lifecycle.installed import InstalledPackage, package_of

INFO = "usr/share/livepatch/info"  # MODULE-SRCVERSION: what RPMs ship so that nobody needs their database

_LARGEST_INFO = 1 << 20  # bytes
_LONGEST_LABEL = 300
_MOST_COMPLAINTS = 4096  # bytes
_PATIENCE = 10.0  # seconds for the rpm database
_LABEL = re.compile(r"([^\s/]+)-([^\s/-]+-[^\s/-]+)\.([^\s/.-]+)")  # NAME-VERSION-RELEASE.ARCH


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The package that a file belongs to."""

    package: InstalledPackage
    changelog: tuple[str, ...]  # the entries' texts, newest first; untrusted
    infos: tuple[str, ...]  # its files that say what its live patches fix


@dataclass(frozen=True, kw_only=True, slots=True)
class LivePatchPackage:
    """An installed package of a live patch module."""

    package: InstalledPackage
    fixes: Fixes

    @property
    def is_initial(self) -> bool:
        """Whether this is the empty live patch that comes with each kernel, so that later ones can replace it."""
        return self.package.edition.startswith("1-") and not self.fixes.cves and not self.fixes.others


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """The packages that were found, by the names of their modules."""

    found: dict[str, LivePatchPackage] = field(default_factory=dict)
    problem: Error | None = None  # why there may be more


def find_packages(modules: Iterable[str], *, root: str = "/") -> Packages:
    """Return the packages that own the modules; without those that none owns.

    What an RPM ships about a loaded module is enough. Otherwise the rpm database is asked for the owners of the
    running kernel's live patch modules.
    """
    wanted = list(modules)
    infos = {name: info for name in wanted if (info := _read_info(name, root)) is not None}
    found = {
        name: LivePatchPackage(package=package, fixes=info.fixes)
        for name, info in infos.items()
        if (package := _from_label(info.label)) is not None
    }
    missing = {name for name in wanted if name not in found}
    if not missing:
        return Packages(found=found)
    try:
        paths = {path: name for path, name in module_files(root).items() if name in missing}
    except Error as problem:
        return Packages(found=found, problem=problem)
    owned, problem_of_database = find_owners(paths, root=root)
    for path, owner in owned.items():
        info = infos.get(paths[path])
        fixes = info.fixes if info else _fixes(owner.infos, owner.changelog, root)
        found[paths[path]] = LivePatchPackage(package=owner.package, fixes=fixes)
    return Packages(found=found, problem=problem_of_database)


def find_owners(paths: Iterable[str], *, root: str) -> tuple[dict[str, Owner], DatabaseError | None]:
    """Return the packages that own these paths, and why there may be more; does not wait without end."""

    def ask() -> tuple[dict[str, Owner], bytes]:
        log = os.memfd_create("rpm")
        os.dup2(log, 2)  # this is another process, which has nothing else to say
        found = rpmdb.owners(paths, root=root, loud=True)
        return {path: _owner(package) for path, package in found.items()}, os.pread(log, _MOST_COMPLAINTS, 0)

    try:
        found, complaints = apart.call(ask, patience=_PATIENCE)
    except DatabaseError as problem:
        return {}, problem
    except apart.NoAnswerError as problem:
        return {}, DatabaseError(f"the rpm database cannot be read: {problem}")
    first = complaints.decode(errors="replace").partition("\n")[0].removeprefix("error: ")
    return found, DatabaseError(f"the rpm database is damaged: {first}") if first else None


def fixes_of(package: rpmdb.Package, *, root: str) -> Fixes:
    """Return what an installed live patch package fixes: its own file says it, or else its changelog."""
    owner = _owner(package)
    return _fixes(owner.infos, owner.changelog, root)


def _fixes(infos: Iterable[str], changelog: Iterable[str], root: str) -> Fixes:
    texts = (sysfs.text(os.path.join(root, path[1:]), most=_LARGEST_INFO) for path in infos)
    return next((info.fixes for info in map(read_info, texts) if info), None) or read_fixes(changelog)


def _owner(package: rpmdb.Package) -> Owner:
    """Return what is of interest of a package: a kernel's has thousands of files."""
    return Owner(
        package=package_of(package.name, package.evr, package.arch),
        changelog=package.changelog,
        infos=tuple(file.path for file in package.files if file.path.startswith(f"/{INFO}/")),
    )


def _read_info(module: str, root: str) -> Info | None:
    version = sysfs.text(os.path.join(root, "sys/module", module, "srcversion")).strip()
    if not (version.isascii() and version.isalnum()):
        return None
    return read_info(sysfs.text(os.path.join(root, INFO, f"{module}-{version}"), most=_LARGEST_INFO))


def _from_label(label: str) -> InstalledPackage | None:
    match = _LABEL.fullmatch(label) if len(label) < _LONGEST_LABEL else None
    return match and InstalledPackage(name=match[1], edition=match[2], arch=match[3])
