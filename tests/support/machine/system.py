# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes the emulated machine a whole system: a shell and its tools, and systemd, from this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.machine import guest
from tests.support.machine.apt import Unavailable

_TOOLS = ("sh", "cat", "grep", "readlink", "rm", "kill", "setsid")
_SYSTEMD = ("systemctl", "systemd-run", "systemd-analyze", "systemd-notify", "journalctl")
_UNITS = Path("/lib/systemd/system")
_DAEMONS = (Path("/lib/systemd/systemd"), Path("/lib/systemd/systemd-journald"))


def program(name: str) -> Path:
    """Return where a program is; raises Unavailable."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name}")
    return Path(found)


def programs(names: Sequence[str]) -> dict[str, Path]:
    """Return programs and the libraries that they are linked with, by their paths in the machine."""
    found = [program(name) for name in names]
    return {str(path): path for path in (*found, *guest.needed(found))}


def files() -> dict[str, Path]:
    """Return the files of a shell, its tools and systemd, by their paths in the machine; raises Unavailable."""
    if not all(path.exists() for path in _DAEMONS):
        raise Unavailable("there is no systemd")
    units = [*_UNITS.glob("*.target"), *_UNITS.glob("systemd-journald*")]
    return {
        **programs([*_TOOLS, *_SYSTEMD, *map(str, _DAEMONS)]),
        **{str(path): path for path in units},
    }
