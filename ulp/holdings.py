# SPDX-License-Identifier: GPL-2.0-or-later
"""What processes hold: their live patches, read from their own records without stopping any of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from host import procfs
from ulp.builds import Builds, read_maps
from ulp.engines import Applied
from ulp.engines.direct import MAPS_MARK
from ulp.engines.pulp import abi
from ulp.engines.pulp import listing as pulp_listing
from ulp.hidden import Hidden, hidden
from ulp.memory import MemoryGone

if TYPE_CHECKING:
    from ulp.engines.pulp.library import Libpulp


class Holding(NamedTuple):
    """What one process holds."""

    pid: int
    name: str
    patches: tuple[Applied, ...]
    has_libpulp: bool
    libraries: tuple[tuple[str, str], ...]  # (path, hexadecimal build-id), when asked for
    problem: str = ""  # why its records cannot be read
    libpulp: Libpulp | None = None
    livepatchable: tuple[tuple[str, str], ...] = ()  # those that its libpulp can patch, when asked for
    copies: tuple[tuple[bytes, int], ...] = ()  # (build-id, number) of what is loaded more than once

    @property
    def is_disabled_by_user(self) -> bool:
        """Whether the process was started, or told later, not to take live patches; what it holds stays in use."""
        return self.libpulp is not None and self.libpulp.error_state == abi.DISABLED_BY_USER

    def copies_of(self, build_id: bytes) -> int:
        """Return how often the process has loaded a library, 1 where that is not known.

        No engine patches several copies: a live patch is in one of them, and the others came later (dlmopen(3)).
        """
        return dict(self.copies).get(build_id, 1)

    @property
    def obstacle(self) -> str:
        """Why the process can take no live patches, or cannot tell what it holds; empty without a reason."""
        if self.problem or self.libpulp is None or self.is_disabled_by_user:
            return self.problem
        if self.libpulp.error_state:
            return abi.sentence(self.libpulp.error_state)
        return "" if self.libpulp.loaded else "libpulp is not set up yet"


def applied(
    *, pids: Sequence[int] | None = None, libraries: bool = False, livepatchable: bool = False
) -> tuple[tuple[Holding, ...], tuple[Hidden, ...]]:
    """Return what processes hold, and those that this user may not look at.

    A change that a killed tool has left unfinished is finished first. Without ``pids``, all processes are looked at.
    """
    holdings = []
    unseen: list[Hidden] = []
    builds = Builds()
    pulp = pulp_listing.Listing(builds, livepatchable=livepatchable)
    for pid in pids if pids is not None else procfs.pids():
        try:
            maps = read_maps(pid)
            patches, problem = _direct(pid, maps) if MAPS_MARK in maps else ((), "")
            seen = pulp.look(pid, maps)
            all_patches = (*patches, *seen.patches) if seen else patches
            files = builds.files(pid, maps) if libraries or all_patches else []
        except PermissionError:
            unseen += filter(None, [hidden(pid)])
            continue
        except (OSError, MemoryGone):
            continue
        if not maps:
            continue
        listed = {file.build_id: file.path for file in files} if libraries else {}
        holdings.append(
            Holding(
                pid=pid,
                name=procfs.name(pid),
                patches=all_patches,
                has_libpulp=seen is not None,
                libraries=tuple((os.fsdecode(path), build.hex()) for build, path in listed.items()),
                problem=problem or (seen.problem if seen else ""),
                libpulp=seen.libpulp if seen else None,
                livepatchable=seen.livepatchable if seen else (),
                copies=tuple(
                    (build_id, number)
                    for build_id, number in Counter(file.build_id for file in files).items()
                    if number > 1
                ),
            )
        )
    return tuple(holdings), tuple(unseen)


def _direct(pid: int, maps: bytes) -> tuple[tuple[Applied, ...], str]:
    from ulp.engines.direct import listing  # slow to import, and only needed where it has patched

    return listing.applied(pid, maps)
