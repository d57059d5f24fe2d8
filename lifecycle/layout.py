# SPDX-License-Identifier: GPL-2.0-or-later
"""The report for people: headings, wording and columns of zypper-lifecycle-plugin, which scripts read.

Its lines end in blanks where a column is empty; so do these.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence

from host.terminal import columns, sanitize
from lifecycle.ends import NOT_TOLD
from lifecycle.overview import Overview
from lifecycle.products import Product
from lifecycle.support import PackageSupport

_NAME, _TEXT = 40, 40  # columns of a package's line
_PRODUCT = 55
_PAGES = (("SUSE", "https://www.suse.com/lifecycle"), ("openSUSE", "https://en.opensuse.org/Lifetime"))


def overview_lines(
    shown: Overview, *, until: datetime.date | None, since: str, verbose: bool
) -> Iterator[str]:
    """Yield the lines of a report about all products and packages; ``since``: changes since that date."""
    if since:
        yield f"Reporting changes since {sanitize(since)}"
    before = f" before {until}" if until else ""
    changed = f" changed since {sanitize(since)}" if since else ""
    if shown.products:
        yield from _products(shown.products, f"end of general support{before}")
    else:
        yield ""
        yield f"No products whose support ends{before}." if until else f"No products{changed}."
    yield ""
    if shown.packages:
        yield f"Package end of support{before or ' if different from product'}:"
        for support in shown.packages:
            yield from _package(support, verbose=verbose)
    elif until and not shown.hidden:
        yield f"No packages whose support ends{before}."
    else:
        yield f"No packages with end of support different from product{'' if until else changed}."
    yield from _pages(shown.products, shown.packages)


def package_lines(
    supports: Iterable[tuple[str, Sequence[PackageSupport]]], *, verbose: bool
) -> Iterator[str]:
    """Yield the lines about packages that were asked for by name; a name without any is not installed."""
    yield ""
    yield "Package end of support:"
    shown = []
    for name, versions in supports:
        if not versions:
            yield f"{sanitize(name)} is not installed"
        for support in versions:
            shown.append(support)
            yield from _package(support, verbose=verbose)
    yield from _pages((), shown)


def _products(products: Sequence[Product], heading: str) -> Iterator[str]:
    ordered = sorted(products, key=lambda product: (product.codestream, product.end))
    for title, flavor in (("Product", ""), ("Module", "module"), ("Extension", "extension")):
        group = [each for each in ordered if _flavor(each) == flavor]
        if not group:
            continue
        yield ""
        yield _padded(f"{title} {heading}", _PRODUCT) + " "
        codestream = ""
        for product in group:
            if product.codestream and product.codestream != codestream:
                yield f"{_padded(f'Codestream: {product.codestream}', _PRODUCT)} {_codestream_end(product)}"
            name = f"   Product: {product.summary}" if product.codestream else product.summary
            yield f"{_padded(name, _PRODUCT)} {product.end.text(product.vendor)}"
            codestream = product.codestream


def _flavor(product: Product) -> str:
    """Return where a product is listed: nobody is left out for a flavor that SUSE's plugin does not know."""
    return product.flavor if product.flavor in ("module", "extension") and not product.base else ""


def _codestream_end(product: Product) -> str:
    return product.codestream_end.text(product.vendor)


def _package(support: PackageSupport, *, verbose: bool) -> Iterator[str]:
    vendor = support.product.vendor if support.product else ""
    text, last = support.end.text(vendor), ""
    package = support.package
    if support.successor is not None:
        text += f", installed {package.evr}, successor available {support.successor.label}"
    elif support.update is not None:
        text += f", installed {package.evr}, update available {support.update.edition}"
        last = support.update_end.text() if support.update_end else ""
    yield f"{_padded(support.label, _NAME)} {_padded(text, _TEXT)} {last}"
    if verbose and support.line is not None:
        yield f"    {sanitize(support.line.place)}"


def _pages(products: Iterable[Product], packages: Iterable[PackageSupport]) -> Iterator[str]:
    """Yield where to read on, for vendors of whom something was shown whose end is not told."""
    untold = [each.vendor for each in products if NOT_TOLD in (each.end, each.codestream_end)]
    untold += [each.product.vendor for each in packages if each.product and each.end == NOT_TOLD]
    yield ""
    for vendor, page in _PAGES:
        if any(each.startswith(vendor) for each in untold):
            yield f"*) See {page} for latest information"


def _padded(text: str, width: int) -> str:
    clean = sanitize(text)
    return clean + " " * (width - columns(clean))
