# SPDX-License-Identifier: GPL-2.0-or-later
"""Show until when products and packages are maintained.

Without a name: all installed products, and the packages for which lifecycle data files name an end. With names:
these packages.

Repositories are not read yet: available updates and successors are not shown, and a package that is maintained
as long as its product shows '-'.

Exit status:
  0   the report is shown
  1   a named package is not installed, or there is nothing to show
  2   something went wrong; the report lacks something or is not there

Examples:
  zypper lifecycle
  zypper lifecycle --days=90
  zypper lifecycle -v openssl-3 kernel-default
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence

from host.errors import BadDataError, ExitStatus, UsageError
from host.terminal import sanitize
from lifecycle.data import Data, parse_date, read_data
from lifecycle.installed import installed_packages
from lifecycle.products import Product, read_products
from lifecycle.report import PackageSupport, ending, ending_products, package_support

_FLAVORS = ("module", "extension")
_VENDOR_PAGE = "*) See https://www.suse.com/lifecycle for latest information"
_LIMITS = "available updates and successors are not looked for yet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="the name of an installed package")
    parser.add_argument("--days", type=_days, metavar="N", help="only what ends within N days from now")
    parser.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="only what ends before this date")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the data file and line each date comes from"
    )
    parser.add_argument("--root", default="/", metavar="DIR", help="look at the system installed under DIR")
    parser.add_argument("--json", action="store_true", help="for programs (docs/json.md)")
    parser.add_argument("--save", metavar="FILE", help="refused: not there yet")
    parser.add_argument("--diff", metavar="FILE", help="refused: not there yet")


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the report."""
    today = datetime.datetime.now(datetime.UTC).date()
    until = _until(options, today)
    products = read_products(options.root)
    data = read_data((product.name for product in products), root=options.root)
    installed = installed_packages(options.root)
    missing: list[str] = []
    if options.packages:
        by_name = {package.name for package in installed}
        missing = [name for name in options.packages if name not in by_name]
        packages = package_support((each for each in installed if each.name in options.packages), data)
        products = ()
    else:
        packages = ending(package_support(installed, data), until=until)
        products = tuple(ending_products(products, until=until))
    if options.json:
        _write_json(products, packages, missing, data, today=today, until=until)
    else:
        _print(options, products, packages, missing, today=today, until=until)
    for problem in data.problems:
        sys.stderr.write(f"zypper: {sanitize(problem)}\n")
    if data.problems:
        raise BadDataError(
            "lifecycle data that cannot be used was left out of this report",
            hint="correct them, or update the lifecycle-data packages",
        )
    return ExitStatus.FAILED if missing or not (packages or products) else ExitStatus.OK


def _until(options: argparse.Namespace, today: datetime.date) -> datetime.date | None:
    """Return the last date of interest, None for all; raises UsageError where options do not go together."""
    for name in ("save", "diff"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} is not there yet", hint="the output of --json can be kept and compared"
            )
    if (options.days is not None) + (options.date is not None) + bool(options.packages) > 1:
        raise UsageError("--days, --date and names of packages do not go together")
    try:
        return options.date if options.days is None else today + datetime.timedelta(days=options.days)
    except OverflowError:
        raise UsageError(f"--days {options.days} is too far away") from None


def _print(
    options: argparse.Namespace,
    products: Sequence[Product],
    packages: Sequence[PackageSupport],
    missing: Sequence[str],
    *,
    today: datetime.date,
    until: datetime.date | None,
) -> None:
    if not options.packages:
        _print_products(products, until=until)
    before = f" before {until}" if until else ""
    heading = "Package end of support" + (
        before if until or options.packages else " if different from product"
    )
    empty = f"whose support ends{before}" if until else "with end of support different from product"
    if packages or options.packages:
        print(f"\n{heading}:")
    else:
        print(f"\nNo packages {empty}.")
    for support in packages:
        date = "-" if support.date is None else "Now" if support.date <= today else str(support.date)
        print(f"{sanitize(support.label):<40} {date}")
        if options.verbose and support.end is not None:
            print(f"    {sanitize(support.end.line.place)}")
    for name in missing:
        print(f"{sanitize(name)} is not installed")
    if any(_end(product).endswith("*") for product in products):
        print(f"\n{_VENDOR_PAGE}")
    sys.stdout.flush()
    sys.stderr.write(f"zypper: {_LIMITS}\n")


def _print_products(products: Sequence[Product], *, until: datetime.date | None) -> None:
    if not products:
        print(f"\nNo products{f' whose support ends before {until}' if until else ''}.")
    for flavor, title in (("", "Product"), ("module", "Module"), ("extension", "Extension")):
        group = [each for each in products if (each.flavor if each.flavor in _FLAVORS else "") == flavor]
        if not group:
            continue
        print(f"\n{title} end of general support{f' before {until}' if until else ''}")
        for product in group:
            if product.codestream:
                end = str(product.codestream_end or "n/a")
                print(f"{sanitize(f'Codestream: {product.codestream}'):<55} {end}")
            name = product.summary if flavor else f"   Product: {product.summary}"
            print(f"{sanitize(name):<55} {_end(product)}")


def _end(product: Product) -> str:
    if product.end is not None:
        return str(product.end)
    return "n/a*" if product.vendor.startswith(("SUSE", "openSUSE")) else "n/a"


def _write_json(
    products: Sequence[Product],
    packages: Sequence[PackageSupport],
    missing: Sequence[str],
    data: Data,
    *,
    today: datetime.date,
    until: datetime.date | None,
) -> None:
    from host.json_output import write

    def text(date: datetime.date | None) -> str | None:
        return None if date is None else date.isoformat()

    fields: dict[str, object] = {
        "today": text(today),
        "until": text(until),
        "products": [
            {
                "name": product.name,
                "version": product.version,
                "summary": product.summary,
                "flavor": product.flavor,
                "base": product.base,
                "end": text(product.end),
                "codestream": product.codestream,
                "codestream_end": text(product.codestream_end),
            }
            for product in products
        ],
        "packages": [
            {
                "name": support.package.name,
                "edition": support.package.edition,
                "arch": support.package.arch,
                "end": text(support.date),
                "successor": (support.end and support.end.successor) or None,
                "data": support.end and support.end.line.place,
            }
            for support in packages
        ],
        "not_installed": list(missing),
        "problems": data.problems,
        "limits": [_LIMITS],
    }
    write("lifecycle", fields)


def _days(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"must be a number of days, not '{text}'")
    return int(text)


def _date(text: str) -> datetime.date:
    try:
        return parse_date(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
