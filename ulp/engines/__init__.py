# SPDX-License-Identifier: GPL-2.0-or-later
"""What an engine is asked and what it answers; ``direct`` and ``pulp`` stand behind it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ulp.container import Container
    from ulp.result import Result


class Consistency(enum.StrEnum):
    """What may go on in an old function when it changes."""

    DEFAULT = "default"  # a call already inside finishes in the old code
    STRICT = "strict"  # changed only when no stack holds an old function


class EngineName(enum.StrEnum):
    """Which engine changes a process."""

    AUTO = "auto"  # each process its own: through libpulp where that is loaded
    PULP = "pulp"
    DIRECT = "direct"


class Change(NamedTuple):
    """What a process shall go through in one stop: reverts first, then one container.

    ``revert`` names the live patches by patch id (32 bytes each); ``revert_library`` means all live patches
    of the library with this basename; ``revert_target`` all live patches of the container's own target.
    """

    apply: Container | None = None
    revert: tuple[bytes, ...] = ()
    revert_library: str = ""
    revert_target: bool = False


class Settings(NamedTuple):
    """How a change is made."""

    consistency: Consistency = Consistency.DEFAULT
    tries: int = 1  # stops that may end in "busy" before the change is given up, at least 1
    timeout: float = 200.0  # seconds, for one process, waiting for locks and tries together
    dry_run: bool = False
    suspend_seccomp: bool = False
    patch_process_one: bool = False
    engine: EngineName = EngineName.AUTO


class Applied(NamedTuple):
    """One live patch that a process holds, newest last."""

    patch_id: bytes
    container: str  # path of the container file when it was applied
    library: str  # the target's path in the process
    build_id: bytes
    functions: tuple[str, ...]
    labels: tuple[str, ...]  # CVE and bug numbers from the container's comments
    time: float  # seconds since the epoch
    engine: str


class Engine(Protocol):
    """One way of changing a process."""

    name: str

    def change(self, pid: int, change: Change, settings: Settings) -> Result:
        """Change the process, all or nothing; never raises for what the process is or does."""

    def recover(self, pid: int, *, timeout: float) -> bool:
        """Finish what a killed tool has left in the process; says whether there was anything. Raises Refusal."""
