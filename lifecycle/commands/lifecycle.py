# SPDX-License-Identifier: GPL-2.0-or-later
"""Show until when products and packages are maintained.

Without a name: all installed products, and the packages that are not maintained as long as their product: those
for which lifecycle data files name an end, and those that have an update or a successor. With names: these packages.

Live patches show until when they are maintained also when there is an update; other packages that have an update
end now. Repositories are not refreshed: what zypper fetched last counts.

Exit status:
  0   the report is shown
  1   a named package is not installed, or there is nothing to show
  2   something went wrong; the report lacks something or is not there

Examples:
  zypper lifecycle
  zypper lifecycle --days=90
  zypper lifecycle -v openssl-3 kernel-default
  zypper lifecycle --diff=seen.xml --save=seen.xml
"""

from __future__ import annotations

import argparse
import datetime
import sys

from host import clock
from host.errors import BadDataError, ExitStatus, UsageError
from host.terminal import sanitize
from lifecycle.data import read_data
from lifecycle.ends import parse_date
from lifecycle.overview import Overview, new_in, overview
from lifecycle.packages import Packages
from lifecycle.products import read_products, release
from lifecycle.saved_report import SavedReport, load, save
from lifecycle.support import PackageSupport, package_support


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="the name of an installed package")
    parser.add_argument("--days", type=_days, metavar="N", help="only what ends within N days from now")
    parser.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="only what ends before this date")
    parser.add_argument("--save", metavar="FILE", help="keep in FILE what there was to report")
    parser.add_argument("--diff", metavar="FILE", help="only what is new since --save wrote FILE")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the data file and line each date comes from"
    )
    parser.add_argument("--no-verbose", action="store_false", dest="verbose", help=argparse.SUPPRESS)
    parser.add_argument("--root", default="/", metavar="DIR", help="look at the system installed under DIR")
    parser.add_argument("--json", action="store_true", help="for programs (docs/json.md)")


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the report."""
    now = clock.now()
    today = now.date()
    until = _until(options, today)
    saved = load(options.diff) if options.diff else SavedReport()
    products = read_products(options.root)
    data = read_data((product.name for product in products), root=options.root)
    packages = Packages(options.root, release=release(products))
    supports = package_support(packages, data, today=today)
    problems = [*data.problems, *packages.problems]
    by_name: dict[str, list[PackageSupport]] = {}
    for support in supports:
        by_name.setdefault(support.package.name, []).append(support)
    asked = [(name, by_name.get(name, [])) for name in options.packages]
    missing = [name for name, versions in asked if not versions]
    if options.packages:
        chosen = [support for _, versions in asked for support in versions]
        shown = Overview(products=(), packages=tuple(chosen))
    else:
        whole = overview(products, supports, until=until)
        shown = new_in(whole, saved)
    if options.json:
        from lifecycle.document import write_document

        write_document(shown, today=today, until=until, since=saved.date, missing=missing, problems=problems)
    else:
        from lifecycle.layout import overview_lines, package_lines

        if options.packages:
            lines = package_lines(asked, verbose=options.verbose)
        else:
            lines = overview_lines(shown, until=until, since=saved.date, verbose=options.verbose)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    if options.save:
        save(options.save, now=now, products=whole.products, packages=whole.packages)
    _tell(problems)
    return ExitStatus.FAILED if missing or not (shown.packages or shown.products) else ExitStatus.OK


def _until(options: argparse.Namespace, today: datetime.date) -> datetime.date | None:
    """Return the last date of interest, None for all; raises UsageError where options do not go together."""
    if (options.days is not None) + (options.date is not None) + bool(options.packages) > 1:
        raise UsageError("--days, --date and names of packages do not go together")
    if options.packages and (options.save or options.diff):
        raise UsageError("--save and --diff are about all packages, not about named ones")
    try:
        return options.date if options.days is None else today + datetime.timedelta(days=options.days)
    except OverflowError:
        raise UsageError(f"--days {options.days} is too far away") from None


def _tell(problems: list[str]) -> None:
    """Name what was left out, and raise BadDataError for it."""
    if not problems:
        return
    sys.stdout.flush()
    for problem in problems:
        sys.stderr.write(f"zypper: {sanitize(problem)}\n")
    raise BadDataError("what could not be read is left out of this report")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"must be a number of days, not '{text}'")
    return int(text)


def _date(text: str) -> datetime.date:
    try:
        return parse_date(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
