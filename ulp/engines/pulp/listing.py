# SPDX-License-Identifier: GPL-2.0-or-later
"""What the libpulp of a process tells of itself, without stopping the process.

Names of functions and labels are not in its list: they come from the container that the process has mapped, if that
file can still be read and is that very live patch.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from host import procfs
from ulp.engines import Applied, EngineName
from ulp.engines.finishing import finish
from ulp.engines.pulp import abi, leftover, state
from ulp.engines.pulp.library import Libpulp, find
from ulp.engines.pulp.places import Place, Places
from ulp.image import Image, image_at
from ulp.memory import Memory, NotAnImage, Unreadable
from ulp.result import Damaged

if TYPE_CHECKING:
    from ulp.builds import Builds, File

_NAME: Final = abi.NAME.encode()
_REMOVED: Final = b"/.nfs"  # what NFS calls a file that is removed while it is open


class Told(NamedTuple):
    """What a container says of its live patch."""

    functions: tuple[str, ...]
    labels: tuple[str, ...]


class Seen(NamedTuple):
    """What one process tells."""

    libpulp: Libpulp
    patches: tuple[Applied, ...]  # oldest first
    # (path, hexadecimal build-id), when asked for: with space for detours, and libpulp
    livepatchable: tuple[tuple[str, str], ...]
    problem: str  # why the live patches cannot be told


class Listing:
    """Looks at processes; remembers builds and containers from one to the next."""

    def __init__(self, builds: Builds, *, livepatchable: bool) -> None:
        """``livepatchable``: tell which libraries libpulp could patch, for which their code has to be searched."""
        self._builds = builds
        self._livepatchable = livepatchable
        self._images: dict[bytes, Image] = {}
        self._padded: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._told: dict[tuple[tuple[bytes, bytes, bytes], bytes], Told | None] = {}

    def look(self, pid: int, maps: bytes) -> Seen | None:
        """Return what the libpulp of a process with this memory map tells, None when it has none.

        Raises OSError and MemoryGone.
        """
        if _NAME not in maps and _REMOVED not in maps:
            return None
        lines = (line for line in maps.split(b"\n") if _NAME in line or _REMOVED in line)
        candidates = procfs.parse_maps(b"\n".join(lines))
        applied: tuple[Applied, ...] = ()
        problem = ""
        with Memory(pid, tid=procfs.live_thread(pid)) as memory:
            libpulp = find(memory, candidates, self._images)
            if libpulp is None:
                return None
            try:
                if leftover.is_there(memory, libpulp):
                    problem = finish(pid, EngineName.PULP)
                    libpulp = find(memory, candidates, self._images) or libpulp
            except (Damaged, Unreadable) as error:
                problem = f"its libpulp cannot be read: {error}"
            files = self._builds.files(pid, maps)
            livepatchable = [
                (path, file.build_id.hex())
                for file in files
                if self._livepatchable
                and ((path := os.fsdecode(file.path)) == libpulp.path or self._has_pads(memory, file))
            ]
            try:
                applied = self._applied(pid, memory, libpulp, Places(maps, files))
            except Damaged as error:
                problem = f"libpulp's list of live patches cannot be read: {error}"
        return Seen(libpulp, applied, tuple(livepatchable), problem)

    def _has_pads(self, memory: Memory, file: File) -> bool:
        known = self._padded.get(file.identity)
        if known is None:
            from ulp.engines.pulp.pads import has_pads

            try:
                image = image_at(memory, file.address, self._images)
                known = has_pads(memory, file.address - image.start, image)
            except (NotAnImage, Unreadable):
                known = False
            self._padded[file.identity] = known
        return known

    def _applied(self, pid: int, memory: Memory, libpulp: Libpulp, places: Places) -> tuple[Applied, ...]:
        patches = state.patches(memory, libpulp, every_unit=False)
        told = [self._tell(pid, patch, places) for patch in patches]
        if not all(told):  # for want of names the addresses of all functions have to do
            patches = state.patches(memory, libpulp)
            told = [self._tell(pid, patch, places) for patch in patches]
        pairs = reversed(list(zip(patches, told, strict=True)))
        return tuple(_as_applied(patch, says, _target(patch, places)) for patch, says in pairs)

    def _tell(self, pid: int, patch: state.Patch, places: Places) -> Told | None:
        """Return what the container tells that this live patch was loaded from, None when it cannot be read."""
        home = (
            places.holding(patch.units[0][1])
            if patch.units
            else places.called(lambda path: path == patch.container)
        )
        if home is None:
            return None
        key = (home.file.identity, patch.patch_id)
        if key not in self._told:
            self._told[key] = _read_container(pid, patch, home)
        return self._told[key]


def _target(patch: state.Patch, places: Places) -> File | None:
    """Return the library that has the old functions."""
    home = (
        places.holding(patch.units[0][0])
        if patch.units
        else places.called(lambda path: os.path.basename(path) == patch.library)
    )
    return home.file if home else None


def _as_applied(patch: state.Patch, told: Told | None, target: File | None) -> Applied:
    if told:
        functions, labels = told
    else:
        start = target.address if target else 0
        functions, labels = tuple(f"{patch.library}+{old - start:#x}" for old, _ in patch.units), ()
    return Applied(
        patch_id=patch.patch_id,
        container=patch.container,
        library=os.fsdecode(target.path) if target else patch.library,
        build_id=target.build_id if target else b"",
        functions=functions,
        labels=labels,
        time=math.nan if patch.time is None else patch.time,
        engine="pulp",
    )


def _read_container(pid: int, patch: state.Patch, home: Place) -> Told | None:
    from host.errors import Error, NotPermittedError  # only where there are live patches
    from ulp import container

    try:
        try:  # the very file, even if it is deleted, and in any mount namespace
            found = container.read(f"/proc/{pid}/map_files/{home.start:x}-{home.end:x}")
        except NotPermittedError:  # needs CAP_CHECKPOINT_RESTORE, proc(5)
            path = _path_of(pid, patch, home)
            if not path:
                return None
            found = container.read(path)
    except Error:
        return None
    if found.patch_id != patch.patch_id:
        return None
    return Told(tuple(unit.old_name for unit in found.units), found.labels)


def _path_of(pid: int, patch: state.Patch, home: Place) -> str:
    """Return a path that leads to the mapped file: as the kernel shows it to us, or as the process knows it."""
    device, inode, path = home.file.identity
    for candidate in (os.fsdecode(path), f"/proc/{pid}/root{patch.container}"):
        try:
            status = os.stat(candidate)
        except (OSError, ValueError):
            continue
        if (b"%02x:%02x" % (os.major(status.st_dev), os.minor(status.st_dev)), b"%d" % status.st_ino) == (
            device,
            inode,
        ):
            return candidate
    return ""
