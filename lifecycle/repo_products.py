# SPDX-License-Identifier: GPL-2.0-or-later
"""The products that repositories belong to: a package is maintained as long as the product it came with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.ends import NEVER, NOT_TOLD, End, from_seconds, on, parse_date
from lifecycle.kinds import PRODUCT
from lifecycle.packages import Packages
from lifecycle.vendors import vendor_of

if TYPE_CHECKING:
    import solv

# What a release package provides (libsolv, repo_autopattern.c); libsolv's caches have products made of these.
_PROVIDED = "product()"
_END = "product-endoflife()"
_ABSENT = 2**63  # no product lives that many seconds
_POOL, _UPDATES = "-Pool", "-Updates"  # in the names of two repositories of one product


@dataclass(frozen=True, kw_only=True, slots=True)
class RepoProduct:
    """A product in a repository."""

    name: str
    vendor: str
    end: End


def products_of_repositories(packages: Packages) -> dict[str, RepoProduct]:
    """Return the product that each repository belongs to, by alias; the longest living one where it has several.

    A repository named X-Updates has no product of its own: it belongs to that of X-Pool.
    """
    found: dict[str, RepoProduct] = {}
    for alias, product in _products(packages.pool):
        if alias not in found or found[alias].end < product.end:
            found[alias] = product
    by_name = {each.name: found[each.alias] for each in packages.repositories if each.alias in found}
    for repository in packages.repositories:
        pool = repository.name.replace(_UPDATES, _POOL)
        if repository.alias not in found and pool != repository.name and pool in by_name:
            found[repository.alias] = by_name[pool]
    return found


def _products(pool: solv.Pool) -> Iterator[tuple[str, RepoProduct]]:
    """Yield aliases of repositories and products in them."""
    from urllib.parse import unquote

    import solv

    known = set()
    for match in pool.Dataiterator(solv.SOLVABLE_NAME, PRODUCT, solv.Dataiterator.SEARCH_STRINGSTART):
        solvable = match.solvable
        if not solvable.isinstalled():
            known.add(solvable.repo.name)
            seconds = solvable.lookup_num(solv.PRODUCT_ENDOFLIFE, _ABSENT)
            yield _product(solvable, solvable.name.removeprefix(PRODUCT), seconds)
    # Repositories that were not read from a cache have the release packages only.
    for solvable in pool.whatprovides(pool.str2id(_PROVIDED)):
        if not solvable.isinstalled() and solvable.repo.name not in known:
            provided = (unquote(str(each)) for each in solvable.lookup_deparray(solv.SOLVABLE_PROVIDES))
            said = {name: value for name, _, value in (each.partition(" = ") for each in provided)}
            yield _product(solvable, said[_PROVIDED], said.get(_END, _ABSENT))


def _product(solvable: solv.XSolvable, name: str, end: int | str) -> tuple[str, RepoProduct]:
    """Return a repository's alias and the product, whose end is a date, seconds or "" for not told."""
    try:
        told = on(parse_date(end)) if isinstance(end, str) and "-" in end else from_seconds(int(end or 0))
    except ValueError:  # as libsolv takes what is no date
        told = NOT_TOLD
    product = RepoProduct(name=name, vendor=vendor_of(solvable), end=NEVER if end == _ABSENT else told)
    return solvable.repo.name, product
