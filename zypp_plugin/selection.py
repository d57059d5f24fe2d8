# SPDX-License-Identifier: GPL-2.0-or-later
"""Which containers of the packages in a commit are applied.

What counts is what is installed when the worker looks: another commit may have changed it since. Containers
are cumulative, so one library build gets the highest live patch number that its package has, and that
replaces whatever the processes hold: after a downgrade, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from host import rpmdb
from host.errors import BadDataError, Error
from host.names import command
from host.sysconfig import Livepatching, When, variable_for
from ulp import trust
from ulp.installed import containers_of, number
from zypp_plugin.report import ContainerRow, PackageRow, Use
from zypp_plugin.transaction import USERSPACE

if TYPE_CHECKING:
    from host.exclusions import Exclusions
    from host.rpmdb import Package
    from ulp.container import Container
    from zypp_plugin.job import Job, PackageStep

_NAMED = 5  # processes in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is to be applied, and the packages with all that was found."""

    containers: tuple[Container, ...]
    packages: tuple[PackageRow, ...]
    problems: tuple[str, ...]


def select(
    job: Job, *, sysconfig: Livepatching, exclusions: Exclusions, signatures: bool = False
) -> Selection:
    """Read the user-space packages of a job as they are installed now; ``signatures`` have to hold if wanted.

    Raises DatabaseError; a package or container that cannot be used is no error but a row that says so.
    """
    steps = _one_each([step for step in job.steps if step.kind == USERSPACE])
    names = [step.name for step in steps]
    installed = rpmdb.installed(names, root=job.root)
    distrust = rpmdb.signature_problems(names, root=job.root) if signatures else {}
    problems: list[str] = list(sysconfig.problems)
    rows: list[PackageRow] = []
    chosen: dict[str, Container] = {}
    for step in steps:
        package = next((package for package in installed if package.name == step.name), None)
        row = describe(step, package)
        if package is None or row.action == "failed":
            rows.append(row)
            continue
        variable = variable_for(package.name)
        when, problem = sysconfig.when(variable)
        problems += [problem] if problem else []
        found, containers = _read_all(
            package, root=job.root, distrust=distrust.get((package.name, package.evr), "")
        )
        why = exclusions.package(package.name)
        note = f"{package.name} patches no process: {why}"
        if when is When.NEVER:
            why = f"{variable}=never"
            note = f"{why} in /etc/sysconfig/livepatching: {package.name} patches no process"
        if why:
            found = [replace(each, use=Use.LEFT_OUT, why=why) for each in found]
            row = replace(row, notes=(note, *row.notes))
        else:
            chosen |= containers
            if not found:
                note = f"{package.name} {package.evr} contains no live patch"
                row = replace(row, notes=(*row.notes, note))
        rows.append(replace(row, containers=tuple(found)))
    rows = _rank(rows)
    applied = [row.path for package in rows for row in package.containers if row.use is Use.APPLIED]
    return Selection(
        containers=tuple(chosen[path] for path in applied),
        packages=tuple(rows),
        problems=tuple(dict.fromkeys(problems)),
    )


def describe(step: PackageStep, package: Package | None) -> PackageRow:
    """Say what became of a package: what zypper did, and what is installed now."""
    notes: list[str] = []
    evr = package.evr if package else step.evr
    if package is None:
        gone = tuple(ContainerRow(path=path, use=Use.REMOVED) for path in step.containers_before)
        if step.action == "-" and step.stage != "err":
            notes.append(f"{step.name} was removed")
            return _row(step, "removed", evr, notes, gone)
        if step.stage == "ok":
            notes.append(f"{step.name} {step.evr} was installed and has been removed since")
            return _row(step, "removed", evr, notes, gone)
        notes.append(f"{step.name} {step.evr} was not installed")
        return _row(step, "failed", evr, notes, ())
    if step.action == "-":
        notes.append(f"{step.name} {step.evr} was to be removed, {evr} is installed")
    elif step.stage == "err":
        notes.append(f"{step.name} {step.evr} could not be installed, it is still {evr}")
        return _row(step, "failed", evr, notes, ())
    elif evr != step.evr:
        notes.append(f"{step.name} {step.evr} has been replaced by {evr} since")
    return _row(step, _action(step, evr), evr, notes, ())


def with_users(package: PackageRow, users: Mapping[str, Sequence[str]], *, root: str) -> PackageRow:
    """Say of a removed package who still holds its live patches; ``users`` are texts by container path."""
    rows: list[ContainerRow] = []
    holders: set[str] = set()
    for row in package.containers:
        found = users.get(os.path.join(root, row.path.lstrip("/")), ())
        holders.update(found)
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        rows.append(replace(row, why=f"still applied in {', '.join(found[:_NAMED])}{more}" if found else ""))
    if holders:
        keep = "processes keep" if len(holders) > 1 else "process keeps"
        note = (
            f"{package.name} was removed, {len(holders)} {keep} the fixed functions: "
            f"to remove a package reverts nothing, '{command('ulp trigger --revert')}' does"
        )
    else:
        note = f"{package.name} was removed, no process holds a live patch of it"
    return replace(package, containers=tuple(rows), notes=(note, *package.notes[1:]))


def _row(
    step: PackageStep, action: str, evr: str, notes: list[str], containers: tuple[ContainerRow, ...]
) -> PackageRow:
    return PackageRow(
        name=step.name,
        kind=step.kind,
        action=action,
        evr=evr,
        before=step.before,
        containers=containers,
        notes=tuple(notes),
    )


def _action(step: PackageStep, evr: str) -> str:
    if not step.before:
        return "installed"
    order = rpmdb.compare(evr, step.before[-1])
    return "reinstalled" if order == 0 else "updated" if order > 0 else "downgraded"


def _one_each(steps: Sequence[PackageStep]) -> list[PackageStep]:
    """Return one step for each name; what comes says more than what goes."""
    chosen: dict[str, PackageStep] = {}
    for step in steps:
        if step.name not in chosen or chosen[step.name].action == "-":
            chosen[step.name] = step
    return list(chosen.values())


def _read_all(
    package: Package, *, root: str, distrust: str
) -> tuple[list[ContainerRow], dict[str, Container]]:
    """Read a package's containers, refuse all with ``distrust`` if there is any; paths are those inside the root."""
    rows: list[ContainerRow] = []
    containers: dict[str, Container] = {}
    found = list(trust.files(package))
    for file in found:
        try:
            if distrust:
                raise BadDataError(distrust)
            container = trust.read(file, root=root)
        except Error as error:
            rows.append(ContainerRow(path=file.path, use=Use.REFUSED, why=error.sentence))
            continue
        containers[file.path] = container
        rows.append(
            ContainerRow(
                path=file.path,
                use=Use.APPLIED,
                target=container.target_name,
                build_id=container.build_id.hex(),
                labels=container.labels,
            )
        )
    strange = set(containers_of(package.name, root=root)) - {file.path for file in package.files}
    for path in rpmdb.unowned(sorted(strange), root=root):
        rows.append(ContainerRow(path=path, use=Use.REFUSED, why="no installed package has put it there"))
    return rows, containers


def _rank(packages: list[PackageRow]) -> list[PackageRow]:
    """Let one container for each library build be applied: the one with the highest number."""
    best: dict[str, ContainerRow] = {}
    for package in packages:
        for row in package.containers:
            if row.use is Use.APPLIED and (
                row.build_id not in best or _number(best[row.build_id]) < _number(row)
            ):
                best[row.build_id] = row
    return [
        replace(package, containers=tuple(_superseded(row, best) for row in package.containers))
        for package in packages
    ]


def _superseded(row: ContainerRow, best: Mapping[str, ContainerRow]) -> ContainerRow:
    if row.use is not Use.APPLIED or row is best[row.build_id]:
        return row
    winner = os.path.basename(best[row.build_id].path)
    return replace(row, use=Use.SUPERSEDED, why=f"{winner} is for the same build and has a higher number")


def _number(row: ContainerRow) -> tuple[int, str]:
    """Return what orders containers for one build."""
    return number(row.path), row.path
