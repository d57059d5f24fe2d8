# SPDX-License-Identifier: GPL-2.0-or-later
"""What disabled repositories had when zypper last looked: only worth a hint."""

from __future__ import annotations

from host.errors import BadDataError
from lifecycle.cache_files import fill
from lifecycle.packages import Packages


def repositories_with(packages: Packages, name: str) -> list[str]:
    """Return the aliases of the disabled repositories that have a package of this name."""
    import solv

    found = []
    for repository in packages.repositories:
        if repository.enabled:
            continue
        pool = solv.Pool()
        repo = pool.add_repo(repository.alias)
        try:
            fill(repo, cache=repository.cache, metadata=repository.metadata)
        except BadDataError:
            continue
        number = pool.str2id(name, False)
        if number and any(each.nameid == number for each in repo.solvables_iter()):
            found.append(repository.alias)
    return found
