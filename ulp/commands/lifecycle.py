# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell until when the user-space live patches in use are maintained.

For each package of which a process holds a live patch: the date and the days that are left, the newest one that
repositories have, and what is installed where that is not what runs. Repositories are not refreshed: what zypper
fetched last counts. The number of days from which on it warns is warn-days under [lifecycle] in the configuration.

Exit status:
  0   all are maintained for longer than that
  1   all are maintained, but one not for more than so many days
  2   one is not maintained any more, or nobody knows until when
  2   no process holds a live patch

Examples:
  ulp lifecycle
  ulp lifecycle -p nginx --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from host.errors import ExitStatus
from host.terminal import paint, sanitize
from lifecycle.expiry import Calendar, Used, exit_status, fields, worst
from lifecycle.expiry_layout import expiry_lines
from ulp import hidden, report, selection
from ulp.coverage import is_trusted
from ulp.wayback import package_of, version_of

if TYPE_CHECKING:
    from host.arguments import Parser
    from ulp.holdings import Holding


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp lifecycle`` understands."""
    parser.add_argument("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="look for packages in the system under DIR"
    )
    parser.add_argument("--json", action="store_true", help="for programs (docs/json.md)")


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the dates."""
    from host import config
    from ulp.holdings import applied

    threshold = config.load(root=options.root).warn_days
    calendar = Calendar(options.root)
    holdings, unseen = applied(pids=selection.processes(options.process, readable=True))
    used = _used(holdings, calendar)
    expiries = [calendar.expiry(each) for each in used]
    problems = calendar.problems
    if options.json:
        from host.json_output import write

        more = [{"processes": sorted(processes)} for processes in used.values()]
        common = fields(expiries, threshold=threshold, today=calendar.today, more=more)
        write("ulp-lifecycle", {**common, "unseen": len(unseen), "problems": problems})
        return exit_status(worst(expiries, threshold))
    for line in expiry_lines(expiries, threshold=threshold, ink=paint(options.color)):
        print(line)
    sys.stdout.flush()
    if not expiries:
        problems = [*problems, "no process holds a live patch"]
    if unseen:
        problems = [*problems, hidden.sentence(unseen)]
    for problem in problems:
        sys.stderr.write(f"ulp: {sanitize(problem)}\n")
    return exit_status(worst(expiries, threshold))


def _used(holdings: Iterable[Holding], calendar: Calendar) -> dict[Used, set[int]]:
    """Return the versions of packages that are in use, and the processes that use each."""
    processes: dict[tuple[str, str, str], set[int]] = {}
    for holding in holdings:
        for key in _held(holding):
            processes.setdefault(key, set()).add(holding.pid)
    found = {}
    for (name, version, path), pids in sorted(processes.items()):
        installed = calendar.installed(name)
        edition = version
        if installed is not None and version in ("", installed.edition.rpartition("-")[0]):
            edition = installed.edition
        title = f"{path or f'{name} {edition}'.rstrip()}, in {report.processes(len(pids))}"
        found[Used(name=name, edition=edition, title=title)] = pids
    return found


def _held(holding: Holding) -> Iterator[tuple[str, str, str]]:
    """Yield packages and their versions, or the path of a live patch that is in no package's place.

    Of the latter only those of processes that do not lie: anybody could let his process hold anything.
    """
    for patch in holding.patches:
        name = package_of(patch.container)
        if name:
            yield name, version_of(patch.container), ""
        elif is_trusted(holding.pid):
            yield "", "", patch.container
