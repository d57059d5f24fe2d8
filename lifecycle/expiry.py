# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when live patches in use are maintained, and what is newer.

No zypper is needed for that: data files, products and zypp's caches tell.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from host import clock
from host.errors import ExitStatus
from lifecycle.data import Data, read_data
from lifecycle.ends import End
from lifecycle.installed import InstalledPackage
from lifecycle.packages import Offer, Packages
from lifecycle.products import read_products, release
from lifecycle.repo_products import products_of_repositories


class Standing(enum.StrEnum):
    """How things are; of several the last one in this order counts."""

    COVERED = "covered"
    EXPIRING = "expiring"  # within the threshold
    UNKNOWN = "unknown"
    EXPIRED = "expired"


_STATUS = {Standing.COVERED: ExitStatus.OK, Standing.EXPIRING: ExitStatus.FAILED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """A live patch that is in use."""

    name: str  # of its package; "" where nobody knows
    edition: str  # VERSION-RELEASE, or VERSION where only that is known
    title: str  # what runs, for people; untrusted


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiry:
    """What is known about a live patch in use."""

    used: Used
    today: datetime.date
    end: datetime.date | None  # the first day without maintenance
    installed: InstalledPackage | None
    newest: Offer | None  # that zypper would install
    newest_end: datetime.date | None

    @property
    def days(self) -> int | None:
        """Days that are left, negative when it is over."""
        return None if self.end is None else (self.end - self.today).days

    @property
    def is_installed(self) -> bool:
        """Whether what is in use is what is installed."""
        return self.installed is not None and self.installed.edition == self.used.edition

    def standing(self, threshold: int) -> Standing:
        """Return how it stands; ``threshold`` is in days."""
        if self.days is None:
            return Standing.UNKNOWN
        if self.days <= 0:
            return Standing.EXPIRED
        return Standing.EXPIRING if self.days <= threshold else Standing.COVERED


class Calendar:
    """The ends of support of a system; ``problems`` are sentences about what is missing from the picture."""

    def __init__(self, root: str = "/") -> None:
        """Read the system under ``root``; raises host.rpmdb.DatabaseError, and BadDataError for a product file."""
        products = read_products(root)
        self._data: Data = read_data((product.name for product in products), root=root)
        self.packages = Packages(root, release=release(products))
        self.today = clock.today()
        self._products = products_of_repositories(self.packages)

    @property
    def problems(self) -> list[str]:
        """What is missing from the picture."""
        return [*self._data.problems, *self.packages.problems]

    def installed(self, name: str) -> InstalledPackage | None:
        """Return the newest installed version of a package."""
        return next((each for each in self.packages.installed if each.name == name), None)

    def expiry(self, used: Used) -> Expiry:
        """Return what is known about a live patch in use; raises BadDataError as lifecycle.data does."""
        installed = self.installed(used.name)
        newest = self._newest(used.name, installed)
        return Expiry(
            used=used,
            today=self.today,
            end=self.end(used.name, used.edition),
            installed=installed,
            newest=newest,
            newest_end=None if newest is None else self.end(used.name, newest.edition),
        )

    def _newest(self, name: str, installed: InstalledPackage | None) -> Offer | None:
        offers = self.packages.offers(name) if name else ()
        return next(
            (
                each
                for each in offers
                if not each.retracted
                and each.lock is None
                and (installed is None or each.arch == installed.arch)
            ),
            None,
        )

    def end(self, name: str, edition: str) -> datetime.date | None:
        """Return the date of a data file, or else the end of the product whose repository has the package.

        Raises BadDataError as lifecycle.data does.
        """
        line = self._data.find(name, edition, edition.rpartition(":")[2]) if name else None
        if line is not None and line.date is not None:
            return line.date
        aliases = {offer.repository.alias for offer in self.packages.offers(name)} if name else set()
        ends: list[End] = [self._products[alias].end for alias in aliases if alias in self._products]
        return max(ends).date if ends else None


def worst(expiries: Iterable[Expiry], threshold: int) -> Standing:
    """Return how things stand altogether; unknown where nothing is in use."""
    order = list(Standing)
    return max((each.standing(threshold) for each in expiries), key=order.index, default=Standing.UNKNOWN)


def exit_status(standing: Standing) -> ExitStatus:
    """Return 0 for covered, 1 for expiring, 2 for expired or unknown."""
    return _STATUS.get(standing, ExitStatus.NOTHING_MATCHED)


def fields(
    expiries: Sequence[Expiry],
    *,
    threshold: int,
    today: datetime.date,
    more: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    """Return the fields of docs/json.md; ``more`` are further ones of each live patch."""
    return {
        "today": today.isoformat(),
        "threshold": threshold,
        "standing": worst(expiries, threshold),
        "live_patches": [
            {
                "name": each.used.name or None,
                "edition": each.used.edition or None,
                "installed": None if each.installed is None else each.installed.edition,
                "end": each.end and each.end.isoformat(),
                "days": each.days,
                "standing": each.standing(threshold),
                "newest": each.newest and each.newest.edition,
                "repository": each.newest and each.newest.repository.name,
                "newest_end": each.newest_end and each.newest_end.isoformat(),
                **further,
            }
            for each, further in zip(expiries, more, strict=True)
        ],
    }
