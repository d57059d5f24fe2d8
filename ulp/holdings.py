# SPDX-License-Identifier: GPL-2.0-or-later
"""What processes hold: their live patches, read from their own records without stopping any of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from host import procfs
from ulp.builds import Builds, read_maps
from ulp.engines import Applied
from ulp.engines.direct import listing
from ulp.memory import MemoryGone

_LIBPULP: Final = b"/libpulp.so"


class Holding(NamedTuple):
    """What one process holds."""

    pid: int
    name: str
    patches: tuple[Applied, ...]
    has_libpulp: bool
    libraries: tuple[tuple[str, str], ...]  # (path, hexadecimal build-id), when asked for
    problem: str = ""  # why its records cannot be read


def applied(
    *, pids: Sequence[int] | None = None, libraries: bool = False
) -> tuple[tuple[Holding, ...], int]:
    """Return what processes hold, and how many this user may not look at.

    A change that a killed tool has left unfinished is finished first. Without ``pids``, all processes are looked at.
    """
    holdings = []
    unseen = 0
    builds = Builds()
    for pid in pids if pids is not None else procfs.pids():
        try:
            maps = read_maps(pid)
            patches, problem = listing.applied(pid, maps)
        except PermissionError:
            unseen += not procfs.is_kernel_thread(pid)
            continue
        except (OSError, MemoryGone):
            continue
        if not maps:
            continue
        listed = builds.mapped(pid, maps) if libraries else {}
        holdings.append(
            Holding(
                pid=pid,
                name=procfs.name(pid),
                patches=patches,
                has_libpulp=_LIBPULP in maps,
                libraries=tuple((os.fsdecode(path), build.hex()) for build, path in listed.items()),
                problem=problem,
            )
        )
    return tuple(holdings), unseen
