# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed products, as the files of /etc/products.d describe them.

One XML file per product (libzypp's product file format, read as libsolv's ext/repo_products.c does); the
link ``baseproduct`` leads to the one that the system is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host.errors import BadDataError
from lifecycle.ends import NEVER, NOT_TOLD, End, from_seconds, on, parse_date

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

FOLDER = "etc/products.d"

_LARGEST = 1 << 20  # bytes of a file


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """An installed product; texts are untrusted."""

    name: str
    version: str
    summary: str
    vendor: str
    flavor: str  # "module", "extension" or anything else, as it was registered
    base: bool
    end: End  # of general support
    codestream: str = ""
    codestream_end: End = NEVER


def read_products(root: str | os.PathLike[str] = "/") -> tuple[Product, ...]:
    """Return the installed products, the base product first, then by name; none where the folder is missing.

    Raises BadDataError for a file that cannot be understood.
    """
    folder = Path(root) / FOLDER
    base = folder / "baseproduct"
    target = Path(os.path.realpath(base)).name if os.path.islink(base) else ""
    try:
        paths = [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".prod")]
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    except OSError as error:
        raise BadDataError(f"{folder} cannot be read: {error.strerror}") from None
    products = [_read(path, base=path.name == target) for path in paths if path.is_file()]
    return tuple(sorted(products, key=lambda product: (not product.base, product.name)))


def release(products: Sequence[Product]) -> str:
    """Return the version of the base product, which $releasever in the names of repositories means; "" without one."""
    return products[0].version if products and products[0].base else ""


def _read(path: Path, *, base: bool) -> Product:
    from xml.etree import ElementTree

    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise BadDataError(f"{path} is too large for a product file")
    try:
        # expat itself limits how far entities may grow (2.4.0, XML_SetBillionLaughsAttackProtection...)
        product = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an unknown encoding
        raise BadDataError(f"{path} is not an XML file: {error}") from None
    if product.tag != "product" or not _text(product, "name"):
        raise BadDataError(f"{path} describes no product", hint="it should hold <product> with a <name>")
    return Product(
        name=_text(product, "name"),
        version=_text(product, "version"),
        summary=_text(product, "summary") or _text(product, "name"),
        vendor=_text(product, "vendor"),
        flavor=_text(product, "register/flavor"),
        base=base,
        end=_end(product, "endoflife", path),
        codestream=_text(product, "codestream/name"),
        codestream_end=_end(product, "codestream/endoflife", path, empty=NEVER),
    )


def _text(element: Element, path: str) -> str:
    return " ".join((element.findtext(path) or "").split())


def _end(product: Element, name: str, path: Path, *, empty: End = NOT_TOLD) -> End:
    """Return what an element says: none at all is another answer than an empty one (FATE#320699)."""
    if product.find(name) is None:
        return NEVER
    text = _text(product, name)
    try:
        if text.isascii() and text.isdigit():
            return from_seconds(int(text))
        return on(parse_date(text[:10])) if text else empty
    except ValueError:
        raise BadDataError(f"{path}: <{name}> holds '{text}', which is no date (YYYY-MM-DD)") from None
