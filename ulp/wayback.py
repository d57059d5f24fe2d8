# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back to the live patches of an older package: which processes have to go it, and whether they did.

Where libpulp's scripts or the commit plugin have not brought a process back, this does it: with the container that the
older package has for its library build, or with none where it has none for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from host import procfs
from host.errors import Error
from ulp.holdings import Holding, applied
from ulp.installed import DIRECTORY, MOVED, containers_of, number
from ulp.report import is_failure
from ulp.result import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from host.config import Config
    from ulp.container import Container
    from ulp.engines import Applied

_MOST_ROUNDS = 3  # of changing and looking: processes may start meanwhile, with what their parents hold


@dataclass(frozen=True, kw_only=True, slots=True)
class Traveller:
    """A process that holds, or has held, live patches of the packages."""

    pid: int
    name: str  # untrusted
    back: bool
    patches: tuple[str, ...]  # the containers that it holds now
    detail: str = ""  # why it is not back


def package_of(path: str) -> str:
    """Return the package that a container's path names, "" for another place than those of packages."""
    return _inside(path)[0]


def version_of(path: str) -> str:
    """Return the version that a container's path names: PACKAGE/VERSION/…, "" without one."""
    return _inside(path)[1]


def _inside(path: str) -> tuple[str, str]:
    for place in (DIRECTORY, MOVED):
        name, *others = path.partition(f"/{place}/")[2].split("/")
        if others:
            return name, others[0] if others[1:] else ""
    return "", ""


def read_containers(names: Iterable[str], *, root: str = "/") -> tuple[tuple[Container, ...], list[str]]:
    """Return the containers of installed packages, and sentences about those that cannot be read."""
    from ulp.container import read

    containers, problems = [], []
    for name in names:
        for path in containers_of(name, root=root):
            try:
                containers.append(read(path if root == "/" else root + path))
            except Error as error:
                problems.append(error.sentence)
    return tuple(containers), problems


class WayBack:
    """What processes hold of some packages, before and after the packages change."""

    def __init__(self, names: Sequence[str], *, root: str = "/") -> None:
        self._names = frozenset(names)
        self._before, self.problems = read_containers(names, root=root)
        self._ids = {container.patch_id for container in self._before}
        holdings, self.unseen = applied()
        self._held = {
            holding.pid: procfs.start_time(holding.pid) for holding in holdings if self._theirs(holding)
        }

    @property
    def holders(self) -> int:
        """The number of processes that hold live patches of the packages."""
        return len(self._held)

    def go(self, config: Config, *, on_progress: Callable[[int, int], None]) -> tuple[Traveller, ...]:
        """Bring back who is not yet, now that the older packages are installed; return all that are concerned.

        Raises what fleet.change raises.
        """
        containers, problems = read_containers(sorted(self._names))
        self.problems += problems
        wanted = _best(containers)
        kept = {container.patch_id for container in containers}
        answers: dict[int, Result] = {}
        for _ in range(_MOST_ROUNDS):
            holdings = self._concerned(wanted)
            late = [holding for holding in holdings if not self._is_back(holding, wanted, kept)]
            todo = [holding for holding in late if not _is_final(answers.get(holding.pid))]
            if not todo:
                break
            answers |= self._change(todo, wanted, kept, config, on_progress)
        late_pids = {holding.pid for holding in late}
        return tuple(
            Traveller(
                pid=holding.pid,
                name=holding.name,
                back=holding.pid not in late_pids,
                patches=tuple(patch.container for patch in holding.patches),
                detail=_detail(holding, answers.get(holding.pid)) if holding.pid in late_pids else "",
            )
            for holding in holdings
        )

    def _theirs(self, holding: Holding) -> list[Applied]:
        """Return the live patches of the packages that a process holds.

        Those of earlier versions are known by their paths, which say nothing in a container with files of its own.
        """
        by_id = [patch for patch in holding.patches if patch.patch_id in self._ids]
        if len(by_id) == len(holding.patches) or not _sees_our_files(holding.pid):
            return by_id
        return [
            patch
            for patch in holding.patches
            if patch.patch_id in self._ids or package_of(patch.container) in self._names
        ]

    def _concerned(self, wanted: dict[bytes, Container]) -> list[Holding]:
        """Return the processes that held live patches of the packages, or hold some now."""
        holdings, self.unseen = applied(libraries=True)
        ids = {container.patch_id for container in wanted.values()}
        return [
            holding
            for holding in holdings
            if self._theirs(holding)
            or any(patch.patch_id in ids for patch in holding.patches)
            or (holding.pid in self._held and procfs.start_time(holding.pid) == self._held[holding.pid])
        ]

    def _is_back(self, holding: Holding, wanted: dict[bytes, Container], kept: set[bytes]) -> bool:
        """Tell whether a process holds nothing newer, and for each build what the older package has for it."""
        held = {patch.patch_id for patch in holding.patches}
        newer = [patch for patch in self._theirs(holding) if patch.patch_id not in kept]
        builds = {bytes.fromhex(build) for _, build in holding.libraries}
        builds |= {patch.build_id for patch in holding.patches}
        missing = [build for build in builds & wanted.keys() if wanted[build].patch_id not in held]
        return not newer and not missing and not holding.problem

    def _change(
        self,
        holdings: Sequence[Holding],
        wanted: dict[bytes, Container],
        kept: set[bytes],
        config: Config,
        on_progress: Callable[[int, int], None],
    ) -> dict[int, Result]:
        """Return the worst result in each process."""
        from ulp import fleet
        from ulp.engines import Change, Consistency, Settings

        lost = {
            patch.patch_id
            for holding in holdings
            for patch in self._theirs(holding)
            if patch.patch_id not in kept and patch.build_id not in wanted
        }
        changes = [Change(apply=container, revert_target=True) for container in wanted.values()]
        changes += [Change(revert=(patch_id,)) for patch_id in sorted(lost)]
        survey = fleet.change(
            changes,
            settings=Settings(
                consistency=Consistency(config.consistency),
                tries=config.tries,
                timeout=config.timeout,
                patch_process_one=config.process_one,
            ),
            pids=[holding.pid for holding in holdings],
            on_progress=on_progress,
        )
        worst: dict[int, Result] = {}
        for result in survey.results:
            known = worst.get(result.pid)
            if known is None or _badness(known) < _badness(result):
                worst[result.pid] = result
        return worst


def _best(containers: Iterable[Container]) -> dict[bytes, Container]:
    """Return the container with the highest number for each library build."""
    best: dict[bytes, Container] = {}
    for container in sorted(containers, key=lambda each: (number(each.path), each.path)):
        best[container.build_id] = container
    return best


def _sees_our_files(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False


def _badness(result: Result) -> int:
    return 2 if is_failure(result.reason) else 1 if result.outcome is Outcome.SUCCESS else 0


def _is_final(result: Result | None) -> bool:
    """Tell whether another try would end as the last one did."""
    return result is not None and result.outcome is not Outcome.SUCCESS


def _detail(holding: Holding, result: Result | None) -> str:
    if result is not None and result.outcome is not Outcome.SUCCESS:
        return result.sentence
    return holding.problem or "it has been patched anew meanwhile"
