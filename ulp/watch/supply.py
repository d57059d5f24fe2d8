# SPDX-License-Identifier: GPL-2.0-or-later
"""The live patches that a process gets with nobody asking: the newest for each library build that a package installed.

On a transactional system that is the running system's packages, and those of the snapshot that the next boot starts.

Read again when the rpm database or the administrator's exemptions have changed, which costs a few stat(2) to see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from host import config, exclusions, rpmdb, snapshots, sysconfig
from host.config import Config
from host.errors import Error
from host.exclusions import Exclusions
from host.sysconfig import When
from ulp import installed, trust

if TYPE_CHECKING:
    from ulp.container import Container

_WATCHED: Final = (
    exclusions.DIRECTORY,
    f"run/{exclusions.NAME}.d",
    f"usr/etc/{exclusions.NAME}.d",
    f"etc/{config.NAME}.d",
)
_FILES: Final = (sysconfig.LIVEPATCHING, f"etc/{config.NAME}", snapshots.FILE)


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What there is at one moment."""

    containers: dict[bytes, Container] = field(default_factory=dict)  # by the build-id they are for
    exclusions: Exclusions = field(default_factory=Exclusions)
    config: Config = field(default_factory=Config)
    problems: tuple[str, ...] = ()  # sentences: what is refused, and why nothing is applied
    usable: bool = True  # False: nothing may be applied


class Shop:
    """Keeps the supply up to date."""

    def __init__(self, *, root: str = "/") -> None:
        self._root = root
        self._state: object = None
        self.supply = Supply()

    def refresh(self, *, anyway: bool = False) -> bool:
        """Read again what may have changed; says whether it was read. Raises DatabaseError without rpm's binding.

        ``anyway``: read it in any case, as the live patches' own files are not looked at for changes.
        """
        state = self._look()
        if state == self._state and not anyway:
            return False
        self.supply = read(root=self._root)
        # what has changed meanwhile is read the next time
        self._state = state
        return True

    def _look(self) -> object:
        database = rpmdb.directory(self._root)
        files = [os.path.join(self._root, each) for each in _FILES]
        for place in (database, *(os.path.join(self._root, each) for each in _WATCHED)):
            try:
                with os.scandir(place) as entries:
                    files += sorted(entry.path for entry in entries)
            except OSError:
                pass
        return [(path, *times) for path in files if (times := _times(path)) and not path.endswith("-shm")]


def read(*, root: str = "/") -> Supply:
    """Read what is installed under a root; never raises, what is wrong is a sentence."""
    problems: list[str] = []
    try:
        settings = config.load(root=root)
        spared = exclusions.load(root=root)
        levers = sysconfig.read_livepatching(root=root)
        problems += levers.problems
        best: dict[bytes, Container] = {}
        for place in filter(None, (root, snapshots.remembered(root=root))):
            for package, file in _files(place, problems, signatures=settings.signature):
                when, problem = levers.when(sysconfig.variable_for(package.name))
                problems += [problem] if problem else []
                if when is When.NEVER or spared.package(package.name):
                    continue
                try:
                    container = trust.read(file, root=place)
                except Error as error:
                    problems.append(error.sentence)
                    continue
                known = best.get(container.build_id)
                if known is None or _rank(known) < _rank(container):
                    best[container.build_id] = container
    except Error as error:
        return Supply(problems=(error.sentence,), usable=False)
    return Supply(
        containers=best, exclusions=spared, config=settings, problems=tuple(dict.fromkeys(problems))
    )


def _files(root: str, problems: list[str], *, signatures: bool) -> list[tuple[rpmdb.Package, rpmdb.File]]:
    """Return the live patches that packages own; what lies beside them is a problem."""
    paths = installed.paths(root)
    owners = rpmdb.owners(paths, root=root)
    problems += [f"{path}: no installed package has put it there" for path in paths if path not in owners]
    packages = {(package.name, package.evr): package for package in owners.values()}
    if signatures:
        for key, problem in rpmdb.signature_problems({name for name, _ in packages}, root=root).items():
            problems += [problem] if packages.pop(key, None) else []
    return [(package, file) for package in packages.values() for file in trust.files(package)]


def _rank(container: Container) -> tuple[int, str]:
    return installed.number(container.path), container.path


def _times(path: str) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None where there is none, or an empty one, as sqlite's readers make it."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status.st_size else None
