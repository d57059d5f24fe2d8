# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, as a repository of a libsolv pool.

zypp keeps libsolv's form of the rpm database in its directory @System, and it may be older than the database: rpm
or another root changed it, or zypper has not run since. So the cache is only believed about headers that rpm's
index of names still has, under the same number (libsolv stores it as rpm:dbid, and rpm gives no number twice);
headers that the cache lacks are read from the database. Without a cache that is all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from host.rpmdb import opened, text
from lifecycle.cache_files import read_cache

if TYPE_CHECKING:
    import rpm
    import solv

SYSTEM = "@System"

_KEYS = "gpg-pubkey"  # rpm keeps keys as if they were packages
# The files that other packages may require by path: those that createrepo_c has in primary.xml, too.
_DIRECTORIES = ("/etc/", "/usr/lib/sendmail")
_PROGRAMS = "bin/"
_LESS, _GREATER, _EQUAL = 2, 4, 8  # RPMSENSE_* of rpm's rpmds.h


def add_installed(pool: solv.Pool, *, cache: Path | None, root: str) -> solv.Repo:
    """Add what is installed under ``root`` to the pool, as its installed repository; None: without a cache.

    Raises host.rpmdb.DatabaseError.
    """
    import solv

    repo = pool.add_repo(SYSTEM)
    if cache is not None:
        read_cache(repo, cache)
    with opened(root) as database:
        numbers = _numbers(database)
        known: set[int] = set()
        gone: list[int] = []
        for solvable in repo.solvables_iter():
            number = solvable.lookup_num(solv.RPM_RPMDBID)
            if number and numbers.get(number) == solvable.name:
                known.add(number)
            else:
                gone.append(solvable.id)
        _drop(repo, gone)
        for number in sorted(numbers.keys() - known):
            for header in database.dbMatch(0, number):
                _add(repo, header)
    repo.internalize()
    pool.installed = repo
    return repo


def _numbers(database: rpm.TransactionSet) -> dict[int, str]:
    """Return the numbers of the headers and the packages' names: from the index, without reading a header."""
    index = database.dbIndex("name")
    names = ((text(name), index.instances()) for name in index)
    return {number: name for name, found in names if name != _KEYS for number, _ in found}


def _drop(repo: solv.Repo, ids: list[int]) -> None:
    """Take solvables out of a repository: libsolv's binding can only do that by way of another one."""
    if ids:
        bin_ = repo.createshadow("gone")
        bin_.moveshadow(ids)
        bin_.free()


def _add(repo: solv.Repo, header: rpm.hdr) -> None:
    import solv

    pool = repo.pool
    solvable = repo.add_solvable()
    solvable.name = text(header["name"])
    solvable.evr = text(header["evr"])
    solvable.arch = text(header["arch"] or "noarch")
    if header["vendor"]:
        solvable.vendor = text(header["vendor"])
    for kind, add in (
        ("provide", solvable.add_provides),
        ("require", solvable.add_requires),
        ("conflict", solvable.add_conflicts),
        ("obsolete", solvable.add_obsoletes),
        ("recommend", solvable.add_recommends),
        ("supplement", solvable.add_supplements),
    ):
        for dependency in _dependencies(pool, header, kind):
            add(dependency)
    solvable.add_provides(pool.Dep(solvable.name).Rel(solv.REL_EQ, pool.Dep(solvable.evr)))
    data = repo.first_repodata() or repo.add_repodata()
    data.set_num(solvable.id, solv.SOLVABLE_BUILDTIME, header["buildtime"] or 0)
    for path in header["filenames"]:
        directory, _, name = text(path).rpartition("/")
        if directory.startswith(_DIRECTORIES) or f"{directory}/".endswith(_PROGRAMS):
            data.add_dirstr(solvable.id, solv.SOLVABLE_FILELIST, data.str2dir(directory), name)


def _dependencies(pool: solv.Pool, header: rpm.hdr, kind: str) -> Iterator[solv.Dep]:
    import solv

    for name, flags, version in zip(
        header[f"{kind}name"], header[f"{kind}flags"], header[f"{kind}version"], strict=False
    ):
        word = text(name)
        if word.startswith("rpmlib("):  # what rpm itself can do
            continue
        if word.startswith("("):
            rich = pool.parserpmrichdep(word)
            if rich is not None:
                yield rich
            continue
        dependency = pool.Dep(word)
        relation = (
            (solv.REL_LT if flags & _LESS else 0)
            | (solv.REL_GT if flags & _GREATER else 0)
            | (solv.REL_EQ if flags & _EQUAL else 0)
        )
        yield dependency.Rel(relation, pool.Dep(text(version))) if relation and version else dependency
