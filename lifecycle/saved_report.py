# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of --save and --diff: what has been reported already.

XML as zypper-lifecycle-plugin writes and reads it, so that its weekly report goes on with its own file:

    <report date="2026-11-21 10:00:00 +0000">
        <product name="SLES" eol="1848614400"/>
        <package name="bash" edition="4.4-1" eol="0"/>
    </report>

``eol`` is the end of support in seconds since the epoch (lifecycle/ends.py has the special numbers).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field

from host.errors import BadDataError, NoInputError
from host.files import read_regular, write_file
from lifecycle.products import Product
from lifecycle.support import PackageSupport

_LARGEST = 64 << 20  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedReport:
    """What a file says has been reported."""

    date: str = ""  # as it is written; untrusted
    products: frozenset[tuple[str, int]] = field(default_factory=frozenset)  # name, end
    packages: frozenset[tuple[str, str, int]] = field(default_factory=frozenset)  # name, edition, end

    def has_product(self, product: Product) -> bool:
        """Tell whether the product was reported with this end."""
        return (product.name, product.end.seconds()) in self.products

    def has_package(self, support: PackageSupport) -> bool:
        """Tell whether the package was reported in this version and with this end."""
        return (support.package.name, support.package.evr, support.deadline.seconds()) in self.packages


def load(path: str) -> SavedReport:
    """Read a file; one that is not there yet has nothing.

    Raises BadDataError for a file that --save did not write, NotPermittedError.
    """
    from xml.etree import ElementTree

    wrong = f"{path} is no report that --save wrote"
    try:
        report = ElementTree.fromstring(read_regular(path, limit=_LARGEST))
    except NoInputError:
        return SavedReport()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an unknown encoding
        raise BadDataError(f"{wrong}: {error}") from None
    if report.tag != "report" or "date" not in report.attrib:
        raise BadDataError(f"{wrong}: it should hold <report date=…>")
    try:
        return SavedReport(
            date=report.attrib["date"],
            products=frozenset(
                (each.attrib["name"], int(each.attrib["eol"])) for each in report.iter("product")
            ),
            packages=frozenset(
                (each.attrib["name"], each.attrib["edition"], int(each.attrib["eol"]))
                for each in report.iter("package")
            ),
        )
    except KeyError as error:
        raise BadDataError(f"{wrong}: an entry has no {error}") from None
    except ValueError:
        raise BadDataError(f"{wrong}: an entry's eol is no number") from None


def save(
    path: str,
    *,
    now: datetime.datetime,
    products: Iterable[Product],
    packages: Iterable[PackageSupport],
) -> None:
    """Write a file, or leave the old one as it was; ``now`` is in UTC. Raises as host.files.write_file does."""
    from xml.etree import ElementTree

    report = ElementTree.Element("report", date=now.strftime("%Y-%m-%d %H:%M:%S +0000"))
    for product in products:
        ElementTree.SubElement(report, "product", name=product.name, eol=str(product.end.seconds()))
    for support in packages:
        package = support.package
        end = str(support.deadline.seconds())
        ElementTree.SubElement(report, "package", name=package.name, edition=package.evr, eol=end)
    ElementTree.indent(report, "    ")
    write_file(path, ElementTree.tostring(report, encoding="utf-8", xml_declaration=True) + b"\n")
