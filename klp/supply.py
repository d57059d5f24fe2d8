# SPDX-License-Identifier: GPL-2.0-or-later
"""What zypp knows that concerns the kernel's live patches: until when, updates, offers, patterns, locks.

Read from its caches and from the rpm database, without zypper and without its lock; nothing is refreshed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from host import apart
from host.errors import BadDataError, Error
from host.rpmdb import DatabaseError

if TYPE_CHECKING:
    import datetime

    from lifecycle.installed import InstalledPackage
    from lifecycle.packages import Offer, Packages

_PATIENCE = 15.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Available:
    """A package that a repository has; texts are untrusted."""

    edition: str  # [EPOCH:]VERSION-RELEASE
    repository: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What was asked for, and sentences about what may be missing."""

    is_known: bool = False  # whether it could be read at all
    ends: Mapping[str, datetime.date] = field(
        default_factory=dict
    )  # first days without maintenance, by name
    updates: Mapping[str, Available] = field(default_factory=dict)  # by the names of installed packages
    newest: Mapping[str, Available] = field(default_factory=dict)  # by name, installed or not
    repositories: int = 0  # that could be read
    patterns: frozenset[str] = frozenset()  # installed ones of those asked for
    locked: frozenset[str] = frozenset()  # names of installed packages that a lock holds
    problems: tuple[str, ...] = ()


def read_supply(
    installed: Iterable[InstalledPackage],
    *,
    names: Iterable[str] = (),
    patterns: Iterable[str] = (),
    root: str = "/",
) -> Supply:
    """Return what is known of installed packages, and of others and patterns with these names.

    Never raises, and does not wait without end.
    """
    packages, asked = list(installed), list(patterns)
    wanted = list(dict.fromkeys([*(package.name for package in packages), *names]))
    try:
        return apart.call(lambda: _read(packages, wanted, asked, root), patience=_PATIENCE)
    except Error as problem:
        return Supply(problems=(problem.sentence,))
    except OSError as problem:  # zypp's files, which this user may not read
        return Supply(problems=(f"{problem.filename} cannot be read: {problem.strerror}",))
    except apart.NoAnswerError as problem:
        return Supply(problems=(f"what is installed and available cannot be read: {problem}",))


def _read(
    installed: Sequence[InstalledPackage], names: Sequence[str], patterns: Sequence[str], root: str
) -> Supply:
    try:
        from lifecycle.expiry import Calendar
        from lifecycle.packages import Packages
        from lifecycle.solving import updates

        ends, packages, problems = {}, None, []
        try:
            calendar = Calendar(root)
            packages = calendar.packages
            ends = {each.name: calendar.end(each.name, each.edition) for each in installed}
            problems += calendar.problems
        except BadDataError as problem:
            packages = packages or Packages(root)
            problems += [
                f"it is not known until when it is maintained: {problem.sentence}",
                *packages.problems,
            ]
    except ImportError as problem:
        raise DatabaseError(f"libsolv's binding for Python cannot be loaded: {problem}") from problem
    newer = {name: _available(offer) for (name, _), offer in updates(packages).items() if name in names}
    offers = {name: packages.offers(name) for name in names}
    held = {packages.pool.id2solvable(number).name for number in packages.locks}
    return Supply(
        is_known=True,
        ends={name: end for name, end in ends.items() if end is not None},
        updates=newer,
        newest={name: _available(found[0]) for name, found in offers.items() if found},
        repositories=sum(1 for repo in packages.pool.repos_iter() if repo != packages.pool.installed),
        patterns=frozenset(pattern for pattern in patterns if _has_pattern(packages, pattern)),
        locked=frozenset(name for name in names if name in held),
        problems=tuple(dict.fromkeys([*problems, *packages.problems])),
    )


def _available(offer: Offer) -> Available:
    return Available(edition=offer.edition, repository=offer.repository.alias)


def _has_pattern(packages: Packages, name: str) -> bool:
    """Tell whether a package of a pattern is installed: it provides ``pattern() = NAME``."""
    import solv

    pool = packages.pool
    wanted = pool.Dep("pattern()").Rel(solv.REL_EQ, pool.Dep(name))
    return any(each.isinstalled() for each in pool.whatprovides(wanted))
