# SPDX-License-Identifier: GPL-2.0-or-later
"""Which products and packages are maintained until when."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lifecycle.data import Data, EndOfSupport
from lifecycle.installed import InstalledPackage
from lifecycle.products import Product


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageSupport:
    """What is known about one installed package."""

    package: InstalledPackage
    end: EndOfSupport | None

    @property
    def date(self) -> datetime.date | None:
        """The first day without support; None if nothing says."""
        return None if self.end is None else self.end.date

    @property
    def label(self) -> str:
        """The package's name, with the version that the data file restricts itself to."""
        if self.end is None or self.end.line.version == "*":
            return self.package.name
        return f"{self.package.name}-{self.end.line.version}"


def package_support(packages: Iterable[InstalledPackage], data: Data) -> list[PackageSupport]:
    """Look up the packages, in their order; raises BadDataError."""
    return [
        PackageSupport(package=package, end=data.find(package.name, package.edition)) for package in packages
    ]


def ending(supports: Iterable[PackageSupport], *, until: datetime.date | None) -> list[PackageSupport]:
    """Return the packages whose end is known, and not after ``until``; the first to end comes first."""
    dated = [(support.date, support) for support in supports if support.date is not None]
    due = [(date, support) for date, support in dated if until is None or date <= until]
    return [support for _, support in sorted(due, key=lambda each: (each[0], each[1].label))]


def ending_products(products: Sequence[Product], *, until: datetime.date | None) -> list[Product]:
    """Return the products whose end, or codestream's end, is not after ``until``; all without a date."""
    if until is None:
        return list(products)
    return [
        product
        for product in products
        if any(end is not None and end <= until for end in (product.end, product.codestream_end))
    ]
