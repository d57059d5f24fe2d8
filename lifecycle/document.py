# SPDX-License-Identifier: GPL-2.0-or-later
"""The report for programs: zypp-livepatch/lifecycle (docs/json.md)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from host.json_output import write
from lifecycle.ends import NOW, End
from lifecycle.overview import Overview
from lifecycle.packages import Offer
from lifecycle.products import Product
from lifecycle.support import PackageSupport


def write_document(
    shown: Overview,
    *,
    today: datetime.date,
    until: datetime.date | None,
    since: str,
    missing: Sequence[str],
    problems: Sequence[str],
) -> None:
    """Print the report."""
    fields: dict[str, object] = {
        "today": today.isoformat(),
        "until": None if until is None else until.isoformat(),
        "since": since or None,
        "products": [_product(product) for product in shown.products],
        "packages": [_package(support) for support in shown.packages],
        "not_installed": list(missing),
        "problems": list(problems),
    }
    write("lifecycle", fields, version=2)


def _product(product: Product) -> dict[str, object]:
    return {
        "name": product.name,
        "version": product.version,
        "summary": product.summary,
        "vendor": product.vendor,
        "flavor": product.flavor,
        "base": product.base,
        "end": _date(product.end),
        "codestream": product.codestream,
        "codestream_end": _date(product.codestream_end),
    }


def _package(support: PackageSupport) -> dict[str, object]:
    line = support.line
    end = support.end.date
    if line is not None and line.date is not None:
        end = line.date  # also where it is past, and people read "Now"
    return {
        "name": support.package.name,
        "edition": support.package.evr,
        "arch": support.package.arch,
        "live_patch": support.is_live_patch,
        "ended": support.end == NOW,
        "end": None if end is None else end.isoformat(),
        "product": support.product and support.product.name,
        "update": _offer(support.update),
        "update_end": support.update_end and _date(support.update_end),
        "successor": _offer(support.successor),
        "data": line and line.place,
    }


def _offer(offer: Offer | None) -> dict[str, object] | None:
    if offer is None:
        return None
    return {"name": offer.name, "edition": offer.edition, "repository": offer.repository.name}


def _date(end: End) -> str | None:
    return None if end.date is None else end.date.isoformat()
