# SPDX-License-Identifier: GPL-2.0-or-later
"""libsolv pools out of thin air: what is installed and what repositories have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import solv

Entry = tuple[str, str]  # name and [EPOCH:]VERSION-RELEASE


def pool(*, installed: Iterable[Entry] = (), **repositories: Iterable[Entry]) -> solv.Pool:
    """Return a pool with these packages of no architecture; the repositories are named as the arguments are."""
    import solv

    made = solv.Pool()
    made.setdisttype(solv.Pool.DISTTYPE_RPM)
    made.setarch("x86_64")
    everything: Mapping[str, Iterable[Entry]] = {"@System": installed, **repositories}
    for alias, entries in everything.items():
        repo = made.add_repo(alias)
        for name, evr in entries:
            solvable = repo.add_solvable()
            solvable.name, solvable.evr, solvable.arch = name, evr, "noarch"
            solvable.add_provides(made.Dep(name).Rel(solv.REL_EQ, made.Dep(evr)))
        repo.internalize()
        if alias == "@System":
            made.installed = repo
    made.createwhatprovides()
    return made
