# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when each package is maintained, and what would replace it: the rules of zypper-lifecycle-plugin.

The date of a data file counts, and a past one is "now". Otherwise a package that has an update is not maintained
any more, nor is one that has a successor, whatever a data file says. Otherwise its product's end is its own.

For live patches this would hide what one has to know: an update comes every few weeks, and that the live patch
in use will get no more after a date is said nowhere else. Theirs stays the date, or the product's end; the update is
shown beside it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from host.rpmdb import compare
from lifecycle import ends
from lifecycle.data import Data, Line
from lifecycle.ends import End
from lifecycle.installed import InstalledPackage
from lifecycle.kinds import is_live_patch
from lifecycle.packages import Offer, Packages
from lifecycle.repo_products import RepoProduct, products_of_repositories
from lifecycle.solving import updates


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageSupport:
    """What is known about one installed package."""

    package: InstalledPackage
    today: datetime.date
    line: Line | None = None  # what a data file says of the installed version
    product: RepoProduct | None = None  # that it came with
    update: Offer | None = None
    update_line: Line | None = None  # what a data file says of the update's version
    successor: Offer | None = None

    @property
    def label(self) -> str:
        """The package's name, with the version that the data file restricts itself to."""
        if self.line is None or self.line.version == "*":
            return self.package.name
        return f"{self.package.name}-{self.line.version}"

    @property
    def is_live_patch(self) -> bool:
        """Whether the package is one."""
        return is_live_patch(self.package.name)

    @property
    def is_told(self) -> bool:
        """Whether there is more to say of it than of its product."""
        return self._date is not None or self.update is not None or self.successor is not None

    @property
    def end(self) -> End:
        """Until when it is maintained."""
        return self._of_itself if self.is_live_patch else self.deadline

    @property
    def deadline(self) -> End:
        """When something has to be done about it: now if it can be replaced, else as ``end``."""
        if self.successor is not None or (self.update is not None and self._date is None):
            return ends.NOW
        return self._of_itself

    @property
    def update_end(self) -> End | None:
        """Until when the update is maintained, if that is known."""
        if self.update is None:
            return None
        if self.update_line is not None and self.update_line.date is not None:
            return ends.on(self.update_line.date)
        end = None if self.product is None else self.product.end
        return end if end is not None and end.is_known else None

    @property
    def _date(self) -> datetime.date | None:
        return None if self.line is None else self.line.date

    @property
    def _of_itself(self) -> End:
        if self._date is not None:
            return ends.NOW if self._date <= self.today else ends.on(self._date)
        return ends.NEVER if self.product is None else self.product.end


def package_support(packages: Packages, data: Data, *, today: datetime.date) -> tuple[PackageSupport, ...]:
    """Look up all installed packages, by name, and several versions of one name the newest first.

    Raises BadDataError for a regular expression in the data that takes too long, or is none.
    """
    by_alias = products_of_repositories(packages)
    products = _products(packages, by_alias)
    newer = updates(packages)
    data.look_up(package.name for package in packages.installed)
    found = []
    for package in packages.installed:
        update = newer.get((package.name, package.arch))
        editions = _editions(package.evr)
        found.append(
            PackageSupport(
                package=package,
                today=today,
                line=data.find(package.name, *editions),
                product=products.get(package) or (by_alias.get(update.repository.alias) if update else None),
                update=update,
                update_line=data.find(package.name, *_editions(update.edition)) if update else None,
                successor=_successor(packages, data, package),
            )
        )
    return tuple(found)


def _products(
    packages: Packages, by_alias: Mapping[str, RepoProduct]
) -> dict[InstalledPackage, RepoProduct]:
    """Return the product that each package came with: of those that have this version, the longest living one."""
    found = {}
    for package, repositories in packages.carriers.items():
        products = [by_alias[each.alias] for each in repositories if each.alias in by_alias]
        if products:
            found[package] = max(products, key=lambda product: product.end)
    return found


def _successor(packages: Packages, data: Data, package: InstalledPackage) -> Offer | None:
    """Return the newest package that a data file names as a successor and that is newer than this one."""
    said = data.successor(package.name, *_editions(package.evr))
    if said is None:
        return None
    names = data.matching(said, packages.names) if said.name is None else [said.name]
    best: Offer | None = None
    for name in names:
        for offer in packages.offers(name) if name != package.name else ():
            if (
                offer.arch == package.arch
                and compare(offer.edition, best.edition if best else package.evr) > 0
            ):
                best = offer
    return best


def _editions(evr: str) -> tuple[str, ...]:
    """Return the ways to write a version in a data file: with its epoch, as SUSE's plugin sees it, and without."""
    return (evr, evr.rpartition(":")[2]) if ":" in evr else (evr,)
