# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking libsolv what zypp would do: with libzypp's jobs, flags and locks (SATResolver.cc)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.cache_files import RETRACTED
from lifecycle.kinds import is_package
from lifecycle.packages import Offer, Packages
from lifecycle.vendors import read_vendors, vendor_of

if TYPE_CHECKING:
    import solv

_NEVER_CHOSEN = (RETRACTED, "ptf()")  # what a patch took back, and packages made for one customer
_BLACKLIST = 0x0E00  # SOLVER_BLACKLIST of libsolv's solver.h, which its binding lacks


def updates(packages: Packages) -> dict[tuple[str, str], Offer]:
    """Return what ``zypper list-updates`` would name: by name and architecture, only of what is installed."""
    import solv

    solver = make_solver(packages)
    everything = packages.pool.Job(solv.Job.SOLVER_UPDATE | solv.Job.SOLVER_SOLVABLE_ALL, 0)
    solver.solve([*usual_jobs(packages), everything])
    names = {package.name for package in packages.installed}
    found: dict[tuple[str, str], Offer] = {}
    for number in solver.raw_decisions(1):
        solvable = packages.pool.id2solvable(number)
        if not solvable.isinstalled() and solvable.name in names and is_package(solvable):
            found[solvable.name, solvable.arch] = packages.offer(solvable)
    return found


def make_solver(packages: Packages, *, recommended: bool = False) -> solv.Solver:
    """Return a solver that may do what zypp's may; ``recommended``: and wants what packages recommend."""
    import solv

    join_vendors(packages)
    solver = packages.pool.Solver()
    flags = solv.Solver
    solver.set_flag(flags.SOLVER_FLAG_ALLOW_NAMECHANGE, 1)  # bsc#1071466
    solver.set_flag(flags.SOLVER_FLAG_ALLOW_VENDORCHANGE, packages.config.allow_vendor_change)
    solver.set_flag(flags.SOLVER_FLAG_SPLITPROVIDES, 1)
    # What else would be nice to have changes no version of what is there.
    solver.set_flag(flags.SOLVER_FLAG_IGNORE_RECOMMENDED, not recommended)
    return solver


def usual_jobs(packages: Packages) -> list[solv.Job]:
    """Return what libzypp asks of every solver run: locks, packages in several versions, what is taken back."""
    import solv

    pool, job = packages.pool, solv.Job
    jobs = []
    for capability in _NEVER_CHOSEN:
        jobs.append(pool.Job(_BLACKLIST | job.SOLVER_SOLVABLE_PROVIDES, pool.str2id(capability)))
    for word in packages.config.multiversion:
        name = word.removeprefix("provides:")
        selected = job.SOLVER_SOLVABLE_NAME if name == word else job.SOLVER_SOLVABLE_PROVIDES
        jobs.append(pool.Job(job.SOLVER_MULTIVERSION | selected, pool.str2id(name)))
    for number in packages.locks:
        here = pool.id2solvable(number).isinstalled()
        jobs.append(
            pool.Job((job.SOLVER_INSTALL if here else job.SOLVER_ERASE) | job.SOLVER_SOLVABLE, number)
        )
    return jobs


def join_vendors(packages: Packages) -> None:
    """Let libsolv take equivalent vendors for one, where a package may replace an installed one of its name.

    libzypp answers libsolv's questions about vendors itself, which libsolv's binding for Python does not provide
    for. So the pool's packages change their vendors; nobody shows them.
    """
    vendors = read_vendors(packages.config.vendors)
    for mine in packages.pool.installed.solvables_iter():
        nameid, vendorid = mine.nameid, mine.vendorid
        for each in packages.pool.whatprovides(nameid):
            if (
                each.vendorid != vendorid
                and each.nameid == nameid
                and vendors.equivalent(vendor_of(mine), vendor_of(each))
            ):
                each.vendorid = vendorid
