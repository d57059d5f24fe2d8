# SPDX-License-Identifier: GPL-2.0-or-later
"""An installed package, as the rpm database and libsolv tell of it."""

from __future__ import annotations

from dataclasses import dataclass


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


def package_of(name: str, evr: str, arch: str) -> InstalledPackage:
    """Return the package with this [EPOCH:]VERSION-RELEASE."""
    epoch, _, edition = evr.rpartition(":")
    return InstalledPackage(name=name, edition=edition, arch=arch, epoch=int(epoch or 0))
