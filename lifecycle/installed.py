# SPDX-License-Identifier: GPL-2.0-or-later
"""Installed packages, and whose a file is, from the rpm database."""

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
    epoch: int = 0

    @property
    def label(self) -> str:
        """NAME-VERSION-RELEASE.ARCH, as rpm -q prints it."""
        return f"{self.name}-{self.edition}.{self.arch}"

    @property
    def evr(self) -> str:
        """[EPOCH:]VERSION-RELEASE, as zypper shows it."""
        return f"{self.epoch}:{self.edition}" if self.epoch else self.edition


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The package that a file belongs to."""

    package: InstalledPackage
    changelog: tuple[str, ...]  # the entries' texts, newest first; untrusted


def package_of(name: str, evr: str, arch: str) -> InstalledPackage:
    """Return the package with this [EPOCH:]VERSION-RELEASE."""
    epoch, _, edition = evr.rpartition(":")
    return InstalledPackage(name=name, edition=edition, arch=arch, epoch=int(epoch or 0))


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
    return package_of(text(header["name"]), text(header["evr"]), text(header["arch"] or "noarch"))
