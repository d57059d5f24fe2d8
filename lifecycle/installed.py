# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, from the rpm database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from host.rpmdb import opened, text

if TYPE_CHECKING:
    import rpm


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledPackage:
    """An installed package."""

    name: str
    edition: str  # VERSION-RELEASE, without the epoch
    arch: str

    @property
    def label(self) -> str:
        """NAME-VERSION-RELEASE.ARCH, as rpm -q prints it."""
        return f"{self.name}-{self.edition}.{self.arch}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The package that a file belongs to."""

    package: InstalledPackage
    changelog: tuple[str, ...]  # the entries' texts, newest first; untrusted


def installed_packages(root: str = "/") -> tuple[InstalledPackage, ...]:
    """Return all installed packages by name, without the keys that rpm keeps as packages.

    Raises host.rpmdb.DatabaseError.
    """
    with opened(root) as database:
        packages = [_package(header) for header in database.dbMatch()]
    real = (package for package in packages if package.name != "gpg-pubkey")
    return tuple(sorted(real, key=lambda package: (package.name, package.edition, package.arch)))


def owners(paths: Iterable[str], *, root: str = "/", loud: bool = False) -> dict[str, Owner]:
    """Return the owner of each path (as seen inside of the root) that a package owns.

    ``loud`` is for host.rpmdb.opened. Raises host.rpmdb.DatabaseError.
    """
    found: dict[str, Owner] = {}
    with opened(root, loud=loud) as database:
        for path in paths:
            for header in database.dbMatch("basenames", path):
                changelog = tuple(text(entry) for entry in header["changelogtext"])
                found[path] = Owner(package=_package(header), changelog=changelog)
    return found


def _package(header: rpm.hdr) -> InstalledPackage:
    version, release = text(header["version"]), text(header["release"])
    return InstalledPackage(
        name=text(header["name"]), edition=f"{version}-{release}", arch=text(header["arch"] or "noarch")
    )
