# SPDX-License-Identifier: GPL-2.0-or-later
"""What of all products and packages belongs into a report."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lifecycle import ends
from lifecycle.products import Product
from lifecycle.saved_report import SavedReport
from lifecycle.support import PackageSupport


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """The products and packages that a report is about."""

    products: tuple[Product, ...]
    packages: tuple[PackageSupport, ...]  # of those whose support is another one than their product's
    hidden: bool = False  # packages end before the date, all of them with their products


def overview(
    products: Sequence[Product], packages: Iterable[PackageSupport], *, until: datetime.date | None
) -> Overview:
    """Return all there is to report, or what is due not later than ``until``; the first to end comes first."""
    told = [each for each in packages if until is None or each.deadline <= ends.on(until)]
    different = [each for each in told if each.is_told]
    different.sort(key=lambda support: support.end)
    if until is not None:
        last = ends.on(until)
        products = [each for each in products if min(each.end, each.codestream_end) <= last]
    return Overview(products=tuple(products), packages=tuple(different), hidden=bool(told) and not different)


def new_in(whole: Overview, saved: SavedReport) -> Overview:
    """Return what has not been reported before."""
    return Overview(
        products=tuple(each for each in whole.products if not saved.has_product(each)),
        packages=tuple(each for each in whole.packages if not saved.has_package(each)),
        hidden=whole.hidden or bool(whole.packages),
    )
