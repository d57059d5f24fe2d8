# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed and what the repositories offer, in one libsolv pool, as zypp would see it.

zypper is not asked and zypp's lock not needed: its caches are only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, cmp_to_key
from typing import TYPE_CHECKING

from host.errors import BadDataError
from host.rpmdb import compare
from lifecycle.cache_files import RETRACTED, fill
from lifecycle.installed import InstalledPackage, package_of
from lifecycle.installed_repo import SYSTEM, add_installed
from lifecycle.kinds import is_package
from lifecycle.locks import Lock, locked, read_locks
from lifecycle.repositories import Repository, read_repositories
from lifecycle.zypp_config import read_zypp_config

if TYPE_CHECKING:
    import solv


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A package in a repository; texts are untrusted."""

    name: str
    edition: str  # [EPOCH:]VERSION-RELEASE
    arch: str
    repository: Repository
    retracted: bool  # by a patch: no update goes to it
    lock: Lock | None  # why zypp would not install it
    id: int  # libsolv's number of it, in the pool it came from

    @property
    def label(self) -> str:
        """NAME-EDITION."""
        return f"{self.name}-{self.edition}"


class Packages:
    """The packages of a system.

    ``problems`` are sentences about what is missing from the picture; more come while questions are answered.
    """

    def __init__(self, root: str = "/", *, release: str = "", snapshot: str = "") -> None:
        """Read the system under ``root``, whose base product has the version ``release``.

        ``snapshot``: read that snapshot of the system, which shares the caches of repositories with it. Raises
        host.rpmdb.DatabaseError.
        """
        import solv

        self.problems: list[str] = []
        self.snapshot = snapshot
        self.config = read_zypp_config(snapshot or root, caches=root)
        self.repositories = read_repositories(self.config, release=release)
        self.pool = solv.Pool()
        self.pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        self.pool.setarch(self.config.architecture)
        # zypp's cache of what is installed is about the last root that zypper worked on: numbers of headers mean
        # something else in each snapshot
        cache = None if snapshot else self.config.solv_caches / SYSTEM / "solv"
        add_installed(self.pool, cache=cache, root=snapshot or root)
        self._by_alias: dict[str, Repository] = {}
        for repository in self.repositories:
            if repository.enabled:
                self._add(repository)
        self.pool.addfileprovides()
        self.pool.createwhatprovides()

    def _add(self, repository: Repository) -> None:
        repo = self.pool.add_repo(repository.alias)
        repo.priority = -repository.priority  # libsolv's highest is the most wanted
        try:
            fill(repo, cache=repository.cache, metadata=repository.metadata)
        except BadDataError as error:
            repo.free()
            hint = f" ({error.hint})" if error.hint else ""
            self.problems.append(f"the repository {repository.alias} is left out: {error.sentence}{hint}")
        else:
            self._by_alias[repository.alias] = repository

    @cached_property
    def installed(self) -> tuple[InstalledPackage, ...]:
        """All installed packages by name; several versions of one name the newest first."""
        by_name: dict[str, list[InstalledPackage]] = {}
        for solvable in self.pool.installed.solvables_iter():
            package = package_of(solvable.name, solvable.evr, solvable.arch)
            by_name.setdefault(package.name, []).append(package)
        for versions in by_name.values():
            if len(versions) > 1:
                versions.sort(key=cmp_to_key(_newer_installed))
        return tuple(package for name in sorted(by_name) for package in by_name[name])

    @cached_property
    def locks(self) -> dict[int, Lock]:
        """The locks that hold packages, by libsolv's numbers of the packages."""
        read = read_locks(self.config.locks)
        self.problems += read.problems
        return locked(self.pool, read.locks)

    @cached_property
    def retracted(self) -> frozenset[int]:
        """libsolv's numbers of the packages that a patch has taken back."""
        return frozenset(each.id for each in self.pool.whatprovides(self.pool.str2id(RETRACTED)))

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all packages, installed or available."""
        return frozenset(each.name for each in self.pool.solvables_iter() if is_package(each))

    def offers(self, name: str) -> tuple[Offer, ...]:
        """Return what the enabled repositories have of a package, the newest and the most wanted first."""
        found = [each for each in self.named(name) if not each.isinstalled() and is_package(each)]
        found.sort(key=lambda each: (-each.repo.priority, each.repo.name))
        found.sort(key=cmp_to_key(_newer))
        return tuple(self.offer(each) for each in found)

    def named(self, name: str) -> list[solv.XSolvable]:
        """Return what has this name, installed or not."""
        number = self.pool.str2id(name, False)
        return [each for each in self.pool.whatprovides(number) if each.nameid == number] if number else []

    def offer(self, solvable: solv.XSolvable) -> Offer:
        """Describe a package of a repository."""
        return Offer(
            name=solvable.name,
            edition=solvable.evr,
            arch=solvable.arch,
            repository=self._by_alias[solvable.repo.name],
            retracted=solvable.id in self.retracted,
            lock=self.locks.get(solvable.id),
            id=solvable.id,
        )

    @cached_property
    def carriers(self) -> dict[InstalledPackage, tuple[Repository, ...]]:
        """The repositories that have the very version that is installed, for all packages that have one."""
        found: dict[InstalledPackage, tuple[Repository, ...]] = {}
        for mine in self.pool.installed.solvables_iter():
            nameid, evrid, archid = mine.nameid, mine.evrid, mine.archid
            same = [
                each.repo.name
                for each in self.pool.whatprovides(nameid)
                if each.evrid == evrid
                and each.nameid == nameid
                and each.archid == archid
                and not each.isinstalled()
            ]
            if same:
                package = package_of(mine.name, mine.evr, mine.arch)
                found[package] = tuple(self._by_alias[alias] for alias in same)
        return found


def _newer(left: solv.XSolvable, right: solv.XSolvable) -> int:
    return int(right.evrcmp(left))


def _newer_installed(left: InstalledPackage, right: InstalledPackage) -> int:
    return compare(right.evr, left.evr)
