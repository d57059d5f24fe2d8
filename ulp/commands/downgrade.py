# SPDX-License-Identifier: GPL-2.0-or-later
"""Go back to an older package of user-space live patches, and bring the processes back with it.

Without a name it is the one package whose live patches are in use. Looks first whether a repository still has an older
version and whether zypper would install it. Then the command is shown and, after a question, run. At the end each
process that held the newer live patches is looked at, and changed if it still holds them: to the older live patch for
its build of the library, or to none where the older package has none. No process is restarted.

On a transactional system the change counts from the next boot on.

Exit status:
  0   every process is back (transactional systems: it waits for the next boot)
  1   refused, or not wanted: nothing was changed
  2   there is nothing to go back to
  3   begun, and not as it should be: what is said tells the state
  66  the package is not installed
  75  another zypper is at work: nothing was changed
  77  only root may do it

Examples:
  ulp downgrade --dry-run
  ulp downgrade glibc-livepatches --to 3
  ulp downgrade -n glibc-livepatches openssl-3-livepatches
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from host.arguments import enumerate_words
from host.errors import Error, ExitStatus, UsageError
from host.names import command
from host.terminal import progress, sanitize
from lifecycle import guide
from lifecycle.guide import Outcome, State
from lifecycle.kinds import LIBRARY_LIVE_PATCHES, is_live_patch
from ulp import hidden, report
from ulp.installed import DIRECTORY
from ulp.wayback import Traveller, WayBack, package_of

if TYPE_CHECKING:
    from host import zypper
    from host.arguments import Parser
    from host.config import Config
    from lifecycle.downgrade import Move, Plan
    from lifecycle.packages import Packages
    from ulp.hidden import Hidden

_NAMED = 5  # processes in a sentence


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp downgrade`` understands."""
    parser.add_argument(
        "packages",
        nargs="*",
        metavar="PACKAGE",
        help="an installed package of live patches: glibc-livepatches",
    )
    guide.add_arguments(parser)
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="with --dry-run: look at the system installed under DIR"
    )
    parser.add_argument("--json", action="store_true", help="for programs (docs/json.md)")


def run(options: argparse.Namespace) -> ExitStatus:
    """Go back."""
    from host import config
    from host.transactional import Base, is_transactional, next_base
    from lifecycle.downgrade import check_room, choose, installed_package, plan, read_packages

    guide.check_options(options)
    settings = config.load(root=options.root)
    transactional = is_transactional(options.root)
    base = next_base(options.root) if transactional else Base()
    packages = read_packages(options.root, snapshot=base.snapshot)
    names = _names(options, packages)
    if options.to is not None and len(names) > 1:
        raise UsageError("--to is for one package, and several were named")
    installed = [installed_package(packages, name) for name in names]
    moves = [choose(packages, package, below=package.evr, to=options.to) for package in installed]
    made = plan(packages, moves)
    check_room(made, packages, root=options.root)
    way = WayBack(names, root=options.root)
    journey = guide.Journey(
        document="ulp-downgrade",
        subject=_subject(way.holders, names),
        plan=made,
        notes=[*guide.continued(packages, names), *_notes(made)],
        checked=["repositories", "locks", "dependencies", "free space"],
        problems=[*packages.problems, *way.problems, *filter(None, [base.problem])],
        is_transactional=transactional,
        snapshot=base.snapshot,
    )
    _remark(journey.problems)

    def look(finished: zypper.Finished) -> Outcome:
        return _look(finished, journey, way, settings)

    return guide.travel(journey, options, look=look)


def _names(options: argparse.Namespace, packages: Packages) -> list[str]:
    """Return the packages that are meant; raises NoInputError, UsageError or Error."""
    from lifecycle.downgrade import installed_package

    installed = {package.name for package in packages.installed}
    for name in options.packages:
        if not name.endswith(LIBRARY_LIVE_PATCHES):
            hint = f"'{command('klp downgrade')}' is for the kernel's" if is_live_patch(name) else ""
            raise UsageError(f"{name} is no package of user-space live patches", hint=hint)
        installed_package(packages, name)
    if options.packages:
        return list(dict.fromkeys(options.packages))
    found = sorted(name for name in installed if name.endswith(LIBRARY_LIVE_PATCHES))
    if len(found) > 1:
        from ulp.holdings import applied

        holdings, _ = applied()
        used = {package_of(patch.container) for holding in holdings for patch in holding.patches}
        found = [name for name in found if name in used] or found
    if not found:
        raise Error("no package of user-space live patches is installed", status=ExitStatus.NOTHING_MATCHED)
    if len(found) > 1:
        raise UsageError(f"which one: {enumerate_words(found)}?", hint="name it, or all that are meant")
    return found


def _subject(holders: int, names: Sequence[str]) -> str:
    who = report.processes(holders) if holders else "No process"
    verb = "holds" if holders < 2 else "hold"
    return f"{who} {verb} live patches of {' and '.join(names)}"


def _notes(made: Plan) -> list[str]:
    return [
        f"{move.target.label} has been retracted by its vendor"
        for move in made.moves
        if move.target.retracted
    ]


def _look(finished: zypper.Finished, journey: guide.Journey, way: WayBack, settings: Config) -> Outcome:
    """Say how things are, and bring back who is not."""
    from host import rpmdb

    moves = journey.plan.moves
    if journey.is_transactional:
        return _of_snapshot(finished, journey, way)
    now = {(each.name, each.evr) for each in rpmdb.installed([move.target.name for move in moves])}
    labels = " and ".join(f"{name}-{evr}" for name, evr in sorted(now)) or "none of the packages"
    there = f"{labels} {'are' if len(now) > 1 else 'is'} installed"
    if not all((move.target.name, move.target.edition) in now for move in moves):
        if all((move.package.name, move.package.evr) in now for move in moves):
            return guide.unchanged(journey.command, finished, now=there)
        return guide.incomplete(journey.command, finished, now=there)
    left = [move.package for move in moves if (move.package.name, move.package.evr) in now]
    if left:
        labels = " ".join(f"{each.name}-{each.evr}" for each in left)
        hint = f"'rpm --erase {labels}' takes away what was left; then {_again(moves)}"
        return guide.incomplete(journey.command, finished, now=there, hint=hint)
    with progress("Changing processes") as update:
        travellers = way.go(settings, on_progress=update)
    fields = {"processes": [asdict(each) for each in travellers], "unseen": len(way.unseen)}
    people = _people(travellers, way.unseen)
    if not finished.good or not all(each.back for each in travellers):
        hint = f"when what is in the way has gone: {_again(moves)}" if travellers else ""
        now_too = f"{there}; {people}"
        return guide.incomplete(journey.command, finished, now=now_too, hint=hint, fields=fields)
    return Outcome(state=State.DONE, sentence=f"{there}; {people}.", fields=fields)


def _again(moves: Sequence[Move]) -> str:
    """Return what brings back the processes that are not."""
    words = [
        f"'{command('ulp trigger')} --revert-all=target --recursive /{DIRECTORY}/{move.target.name}/'"
        for move in moves
    ]
    return " and ".join(words)


def _of_snapshot(finished: zypper.Finished, journey: guide.Journey, way: WayBack) -> Outcome:
    who = report.processes(way.holders) if way.holders else "no process"
    held = f"{who} {'has' if way.holders < 2 else 'have'} live patches of the newer package"
    return guide.next_boot(journey.command, finished, journey.plan.moves, now=held)


def _people(travellers: Sequence[Traveller], unseen: Sequence[Hidden]) -> str:
    late = [each for each in travellers if not each.back]
    unknown = f"; {hidden.sentence(unseen)}" if unseen else ""
    if not travellers:
        return f"no process had a live patch of it{unknown}"
    if not late:
        return f"{report.processes(len(travellers))} went back{unknown}"
    named = "; ".join(f"{each.name} ({each.pid}): {each.detail}" for each in late[:_NAMED])
    more = f"; and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
    everyone = report.processes(len(travellers))
    return f"{len(travellers) - len(late)} of {everyone} went back, not {named}{more}{unknown}"


def _remark(problems: Sequence[str]) -> None:
    for problem in problems:
        sys.stderr.write(f"ulp: {sanitize(problem)}\n")
