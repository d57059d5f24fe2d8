# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back to an older version of an installed package: which ones there are, and whether zypper would do it.

libsolv answers before zypper is started, with the same jobs and locks. What was not foreseen (packages that would go)
is refused, not only shown: the plan is carried out without zypper's own questions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host.errors import BadDataError, Error, ExitStatus, NoInputError, UsageError
from host.rpmdb import compare
from lifecycle.disabled import repositories_with
from lifecycle.installed import InstalledPackage
from lifecycle.locks import Lock
from lifecycle.packages import Offer, Packages
from lifecycle.products import read_products, release
from lifecycle.solving import make_solver, usual_jobs

if TYPE_CHECKING:
    import solv

_VERSION = re.compile(
    r"(?:[0-9]+:)?[A-Za-z0-9._+~^]+(?:-[A-Za-z0-9._+~^]+)?"
)  # rpm's, with or without a release
_MOST_NAMED = 8  # versions in a sentence
_RESERVE = 4 << 20  # bytes that have to be left on a file system


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One package that goes back."""

    package: InstalledPackage
    target: Offer

    @property
    def wish(self) -> str:
        """What zypper is asked for: NAME=[EPOCH:]VERSION-RELEASE."""
        return f"{self.target.name}={self.target.edition}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What becomes of one package; ``before`` or ``after`` is empty where it comes or goes."""

    name: str
    before: str  # [EPOCH:]VERSION-RELEASE
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What zypper would do."""

    moves: tuple[Move, ...]
    others: tuple[Step, ...]  # what else would change
    download: int  # bytes
    unpacked: int  # bytes of the new packages, which lie beside the old ones for a while


def read_packages(root: str, *, snapshot: str = "") -> Packages:
    """Return the packages of a system, or of its snapshot that is to be changed.

    A product file that cannot be read only costs names of repositories. Raises host.rpmdb.DatabaseError.
    """
    try:
        version = release(read_products(snapshot or root))
    except BadDataError:
        version = ""
    return Packages(root, release=version, snapshot=snapshot)


def installed_package(packages: Packages, name: str) -> InstalledPackage:
    """Return an installed package, the newest of several versions; raises NoInputError."""
    found = next((each for each in packages.installed if each.name == name), None)
    if found is None:
        where = f" in {packages.snapshot}, which is to be changed" if packages.snapshot else ""
        raise NoInputError(f"{name} is not installed{where}")
    return found


def choose(packages: Packages, package: InstalledPackage, *, below: str, to: str | None = None) -> Move:
    """Return the way back to the version before ``below`` ([EPOCH:]VERSION-RELEASE), or to the version ``to``.

    Raises UsageError for what is no version, Error with NOTHING_MATCHED where there is nothing to go back to, and
    Error where a lock is in the way.
    """
    offers = [each for each in packages.offers(package.name) if each.arch == package.arch]
    older = _one_each(each for each in offers if compare(each.edition, below) < 0)
    if to is None:
        target = next((each for each in older if not each.retracted), None)
        if target is None:
            raise _nothing_older(packages, package.name, below, older)
    else:
        target = _named(packages, package, offers, older, below=below, to=to)
    if target.edition == package.evr and packages.snapshot:
        raise Error(
            f"{target.label} is in {packages.snapshot} already, and counts from the next boot on",
            hint="'transactional-update reboot' boots in the way that is configured",
            status=ExitStatus.NOTHING_MATCHED,
        )
    if target.edition == package.evr:
        raise Error(
            f"{target.label} is installed already",
            hint=f"'zypper install --force {package.name}' runs its scripts again",
            status=ExitStatus.NOTHING_MATCHED,
        )
    _check_locks(packages, package, target)
    return Move(package=package, target=target)


def plan(packages: Packages, moves: Sequence[Move]) -> Plan:
    """Ask libsolv whether all moves can be made together; raises Error with its reasons where they cannot."""
    import solv

    solver = make_solver(packages, recommended=not packages.config.only_requires)
    install = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE
    wanted = [packages.pool.Job(install, move.target.id) for move in moves]
    problems = solver.solve([*usual_jobs(packages), *wanted])
    wish = " and ".join(move.target.label for move in moves)
    if problems:
        reasons = dict.fromkeys(each.findproblemrule().info().problemstr() for each in problems)
        raise Error(
            f"{wish} cannot be installed: {'; '.join(reasons)}",
            hint=f"'zypper install --oldpackage {' '.join(move.wish for move in moves)}' shows ways out",
        )
    transaction = solver.transaction()
    new = [each for each in transaction.newsolvables() if not each.isinstalled()]
    steps = tuple(_steps(transaction))
    targets = {move.target.name for move in moves}
    others = tuple(step for step in steps if step.name not in targets)
    gone = [f"{step.name}-{step.before}" for step in others if not step.after]
    if gone:
        raise Error(
            f"{wish} cannot be installed without removing {_some(gone)}",
            hint=f"'zypper install --oldpackage {' '.join(move.wish for move in moves)}' does it if you agree",
        )
    return Plan(
        moves=tuple(moves),
        others=others,
        download=sum(each.lookup_num(solv.SOLVABLE_DOWNLOADSIZE) for each in new),
        unpacked=sum(each.lookup_num(solv.SOLVABLE_INSTALLSIZE) for each in new),
    )


def check_room(made: Plan, packages: Packages, *, root: str) -> None:
    """Raise Error where a file system has no room for the packages and their files."""
    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for path, size in ((packages.config.packages, made.download), (Path(root, "usr/lib"), made.unpacked)):
        place = next(each for each in (path, *path.parents) if each.exists())
        device = place.stat().st_dev
        places.setdefault(device, place)
        needed[device] = needed.get(device, _RESERVE) + size
    for device, size in needed.items():
        found = os.statvfs(places[device])
        free = found.f_bavail * found.f_frsize
        if free < size:
            raise Error(
                f"there is not enough room: {size >> 20} MiB are needed on the file system of {places[device]}, "
                f"{free >> 20} MiB are free"
            )


def _one_each(offers: Iterable[Offer]) -> list[Offer]:
    """Return each version once, from the repository that is the most wanted."""
    found: dict[str, Offer] = {}
    for offer in offers:
        found.setdefault(offer.edition, offer)
    return list(found.values())


def _named(
    packages: Packages,
    package: InstalledPackage,
    offers: Sequence[Offer],
    older: Sequence[Offer],
    *,
    below: str,
    to: str,
) -> Offer:
    """Return the older version that a user means."""
    if not _VERSION.fullmatch(to):
        raise UsageError(f"'{to}' is no version; write VERSION or VERSION-RELEASE")
    target = next((each for each in older if _means(to, each.edition)), None)
    if target is not None:
        return target
    name = package.name
    if _means(to, below):
        raise Error(
            f"{name}-{below} is in use already", status=ExitStatus.NOTHING_MATCHED, hint=_list(older)
        )
    newer = next((each for each in offers if _means(to, each.edition)), None)
    if newer is not None:
        raise Error(
            f"{newer.label} is newer than {below}, which is in use",
            status=ExitStatus.NOTHING_MATCHED,
            hint=f"'zypper update {name}' goes forward",
        )
    raise _nothing_older(packages, name, below, older, to=to)


def _means(wish: str, edition: str) -> bool:
    """Tell whether a user can mean this [EPOCH:]VERSION-RELEASE, of which wishes may leave out two parts."""
    if ":" not in wish:
        edition = edition.rpartition(":")[2]
    if "-" not in wish:
        edition = edition.rpartition("-")[0]
    return compare(edition, wish) == 0


def _nothing_older(
    packages: Packages, name: str, below: str, older: Sequence[Offer], *, to: str = ""
) -> Error:
    retracted = "" if to or not older else ": all that were found have been retracted"
    what = f"{name} {to}" if to else f"a version of {name} below {below}"
    sentence = f"no repository has {what}{retracted}"
    disabled = repositories_with(packages, name)
    if disabled:
        hint = f"a disabled repository may: 'zypper modifyrepo --enable {disabled[0]}'"
    elif packages.problems:
        hint = packages.problems[0]
    else:
        hint = _list(older) if to else "repositories keep old versions for a while only"
    return Error(sentence, hint=hint, status=ExitStatus.NOTHING_MATCHED)


def _list(offers: Sequence[Offer]) -> str:
    if not offers:
        return "repositories have none that is older"
    return f"older ones there are: {_some([each.edition for each in offers])}"


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return f"{', '.join(words[:_MOST_NAMED])}{more}"


def _check_locks(packages: Packages, package: InstalledPackage, target: Offer) -> None:
    here = (each for each in packages.named(package.name) if each.isinstalled() and each.evr == package.evr)
    locks: list[tuple[str, Lock]] = [
        (f"{package.name}-{package.evr}", packages.locks[each.id])
        for each in here
        if each.id in packages.locks
    ]
    if target.lock is not None:
        locks.append((target.label, target.lock))
    hint = "'zypper locks' shows the locks, 'zypper removelock' takes one away"
    if packages.snapshot:
        hint = "'transactional-update --continue run zypper removelock NAME' takes one away there"
    for label, lock in locks:
        raise Error(f"{label} is locked, by line {lock.line} of {packages.config.locks}", hint=hint)


def _steps(transaction: solv.Transaction) -> Iterable[Step]:
    """Yield what happens to packages, each pair of old and new once."""
    for each in transaction.steps():
        other = transaction.othersolvable(each)
        if each.isinstalled():
            if other is None or other.name != each.name:
                yield Step(name=each.name, before=each.evr, after="")
        else:
            before = other.evr if other is not None and other.name == each.name else ""
            yield Step(name=each.name, before=before, after=each.evr)
