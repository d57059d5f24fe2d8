# SPDX-License-Identifier: GPL-2.0-or-later
"""Who runs the fix, and who does not: live patches there are, held against what processes map and hold.

Live patches for a library build are cumulative, so one of them, the newest, is the fix for that build; a process that
holds only older ones is outdated. What processes say about themselves is believed about themselves only.
"""

from __future__ import annotations

import enum
import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from host import procfs
from ulp.installed import number
from ulp.result import Reason

if TYPE_CHECKING:
    from ulp.container import Container
    from ulp.engines import Applied
    from ulp.holdings import Holding
_DELETED: Final = " (deleted)"  # proc_pid_maps(5)


class State(enum.StrEnum):
    """How a process stands to the fix for one library that it maps."""

    PATCHED = "patched"
    OUTDATED = "outdated"  # it holds live patches for the library, but not the fix
    PARTLY = "partly-patched"  # it has loaded the library more than once, and one copy has the fix
    UNPATCHED = "unpatched"
    NO_LIVE_PATCH = (
        "no-live-patch"  # a build that is not on disk any more, and that no live patch is made for
    )
    UNKNOWN = "unknown"  # its records cannot be read
    OTHER_BUILD = (
        "other-build"  # a build that needs none of the live patches, or has none: it is not counted
    )


class LivePatch(NamedTuple):
    """A live patch that there is: installed, named by the user, or only held by processes that can be trusted."""

    path: str
    patch_id: bytes
    target: str  # the library's basename
    build_id: bytes
    labels: tuple[str, ...]
    container: Container | None = None  # None: its file is gone, or was never installed


class Question(NamedTuple):
    """What is asked: about a CVE or bug number as labels have it, about libraries with these names; or about all."""

    label: str = ""
    library: str = ""  # a pattern as fnmatch(3) knows them


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One library in one process."""

    pid: int
    name: str  # untrusted
    library: str  # its path, as the process knows it
    build_id: bytes
    state: State
    held: tuple[Applied, ...] = ()  # for this build, newest last, with the labels of their files where known
    fix: LivePatch | None = None
    reason: Reason | None = None  # what a dry run said, where there was one
    detail: str = ""  # why it does not run the fix; empty where it does

    @property
    def counts(self) -> bool:
        """Whether the process needs the fix."""
        return self.state is not State.OTHER_BUILD

    @property
    def is_open(self) -> bool:
        """Whether only a dry run can tell why the fix is missing."""
        return (
            self.state in {State.UNPATCHED, State.OUTDATED, State.PARTLY}
            and self.fix is not None
            and self.fix.container is not None
        )

    @property
    def explanation(self) -> str:
        """Why the process does not run the fix; empty if it does."""
        if self.reason is not Reason.WOULD_CHANGE:
            return self.detail
        return f"{self.detail}, can be patched now" if self.detail else "can be patched now"

    @property
    def base(self) -> str:
        """The library's basename."""
        return base_name(self.library)


def some(words: Sequence[str], most: int = 8) -> str:
    """Return ``a, b and 3 more``."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def base_name(library: str) -> str:
    """Return the basename of a library as /proc/PID/maps has it."""
    return os.path.basename(library.removesuffix(_DELETED))


def live_patches(containers: Iterable[Container], holdings: Iterable[Holding]) -> tuple[LivePatch, ...]:
    """Return the live patches of these containers, and those that processes hold beside them.

    What a process of another ordinary user claims to hold would make all others look unpatched, so it is left out.
    """
    found = {
        container.patch_id: LivePatch(
            path=container.path,
            patch_id=container.patch_id,
            target=container.target_name,
            build_id=container.build_id,
            labels=container.labels,
            container=container,
        )
        for container in containers
    }
    for holding in holdings:
        unknown = [patch for patch in holding.patches if patch.patch_id not in found]
        if not unknown or not is_trusted(holding.pid):
            continue
        for patch in unknown:
            found[patch.patch_id] = LivePatch(
                path=patch.container,
                patch_id=patch.patch_id,
                target=base_name(patch.library),
                build_id=patch.build_id,
                labels=patch.labels,
            )
    return tuple(found.values())


def is_trusted(pid: int) -> bool:
    """Say whether it is a process of root or of this user."""
    try:
        effective = int(procfs.status(pid)["Uid"].split()[1])
    except (OSError, KeyError):
        return False
    return effective in {0, os.geteuid()}


def fixes(patches: Iterable[LivePatch], question: Question) -> dict[bytes, LivePatch]:
    """Return the fix for each library build that the question is about: build-id -> live patch."""
    best: dict[bytes, LivePatch] = {}
    for patch in patches:
        if question.label and question.label not in patch.labels:
            continue
        if question.library and not fnmatch.fnmatchcase(patch.target, question.library):
            continue
        known = best.get(patch.build_id)
        if known is None or _rank(known) < _rank(patch):
            best[patch.build_id] = patch
    return best


def _rank(patch: LivePatch) -> tuple[bool, int, str]:
    return patch.container is not None, number(patch.path), patch.path


class Judge:
    """Says of processes how they stand."""

    def __init__(
        self, patches: Sequence[LivePatch], wanted: Mapping[bytes, LivePatch], question: Question
    ) -> None:
        """``wanted`` is what ``fixes`` returned for the patches and the question."""
        self._fixes = wanted
        self._question = question
        self._labels = {patch.patch_id: patch.labels for patch in patches}
        self._builds = {patch.build_id for patch in patches}
        self._targets = {fix.target for fix in wanted.values()}

    def rows(self, holdings: Sequence[Holding]) -> tuple[Row, ...]:
        """Return what is to be said, ordered by pid."""
        mapped = {holding.pid: _mapped(holding) for holding in holdings}
        # a library may be known by a file name that is not the one in its live patches: libc-2.31.so
        names = self._targets | {
            base_name(path)
            for libraries in mapped.values()
            for build, path in libraries.items()
            if build in self._fixes
        }
        return tuple(
            row
            for holding in sorted(holdings, key=lambda holding: holding.pid)
            for row in self._of(holding, mapped[holding.pid], names)
        )

    def _of(self, holding: Holding, mapped: Mapping[bytes, str], names: set[str]) -> Iterator[Row]:
        for build, path in sorted(mapped.items(), key=lambda item: (item[1], item[0])):
            fix = self._fixes.get(build)
            held = self._held(holding, build)
            if fix is not None:
                state, detail = (
                    self._stand(held, fix) if not holding.problem else (State.UNKNOWN, holding.problem)
                )
                if state is State.PATCHED and (copies := holding.copies_of(build)) > 1:
                    state, detail = State.PARTLY, f"only one of {copies} copies has it"
            elif base_name(path) in names:
                state, detail = self._without_fix(build, path)
            else:
                continue
            yield Row(
                pid=holding.pid,
                name=holding.name,
                library=path,
                build_id=build,
                state=state,
                held=held,
                fix=fix,
                detail=detail,
            )

    def _held(self, holding: Holding, build: bytes) -> tuple[Applied, ...]:
        return tuple(
            patch._replace(labels=self._labels.get(patch.patch_id, patch.labels))
            for patch in holding.patches
            if patch.build_id == build
        )

    def _stand(self, held: Sequence[Applied], fix: LivePatch) -> tuple[State, str]:
        good = [at for at, patch in enumerate(held) if self._has_the_fix(patch, fix)]
        if good:
            over = next((patch for patch in held[good[-1] + 1 :] if _meet(held[good[-1]], patch)), None)
            if over is None:
                return State.PATCHED, ""
            return (
                State.OUTDATED,
                f"{_base(over.container)} was applied over {_base(held[good[-1]].container)}",
            )
        details = []
        if held:
            has = {label for patch in held for label in patch.labels}
            wanted = [self._question.label] if self._question.label else fix.labels
            missing = [label for label in wanted if label not in has]
            details += [f"lacks {some(missing)}"] if missing else []
        if fix.container is None:
            details.append(f"{_base(fix.path)} is in use elsewhere, but not installed")
        return State.OUTDATED if held else State.UNPATCHED, ", ".join(details)

    def _has_the_fix(self, patch: Applied, fix: LivePatch) -> bool:
        if self._question.label:
            return self._question.label in patch.labels
        return patch.patch_id == fix.patch_id or number(patch.container) > number(fix.path)

    def _without_fix(self, build: bytes, path: str) -> tuple[State, str]:
        if self._question.label and build in self._builds:
            return (
                State.OTHER_BUILD,
                f"none of the live patches for its build {build.hex()} names {self._question.label}",
            )
        if path.endswith(_DELETED):
            return (
                State.NO_LIVE_PATCH,
                f"deleted on disk, and none of the live patches is for its build {build.hex()}",
            )
        return State.OTHER_BUILD, f"none of the live patches is for its build {build.hex()}"


def _mapped(holding: Holding) -> dict[bytes, str]:
    """Return the builds in a process, those included that it can only have because it holds live patches for them."""
    found = {patch.build_id: patch.library for patch in holding.patches}
    return found | {bytes.fromhex(build): path for path, build in holding.libraries}


def _meet(earlier: Applied, later: Applied) -> bool:
    """Say whether a live patch can have replaced functions of an earlier one."""
    if not earlier.functions or not later.functions:
        return True
    return not set(earlier.functions).isdisjoint(later.functions)


def _base(path: str) -> str:
    return os.path.basename(path)
