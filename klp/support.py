# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when live patches are maintained, as the lifecycle data of the installed products say."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field

from host.errors import Error
from lifecycle.data import read_data
from lifecycle.installed import InstalledPackage
from lifecycle.products import read_products


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """The first days without maintenance."""

    ends: dict[str, datetime.date] = field(
        default_factory=dict
    )  # by the names of packages; no entry: not told
    problems: tuple[str, ...] = ()


def read_support(packages: Iterable[InstalledPackage], *, root: str = "/") -> Support:
    """Return until when the packages are maintained; never raises, what is wrong is told in ``problems``."""
    ends: dict[str, datetime.date] = {}
    try:
        data = read_data((product.name for product in read_products(root)), root=root)
        for package in packages:
            end = data.find(package.name, package.edition)
            if end is not None and end.date is not None:
                ends[package.name] = end.date
    except Error as error:
        return Support(
            ends=ends, problems=(f"it is not known until when it is maintained: {error.sentence}",)
        )
    return Support(ends=ends, problems=tuple(data.problems))


def today() -> datetime.date:
    """Return the day that ends of support are compared with."""
    return datetime.datetime.now(datetime.UTC).date()
