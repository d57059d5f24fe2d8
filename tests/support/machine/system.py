# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes the emulated machine a whole system: a shell and its tools, and systemd, from this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.machine import guest
from tests.support.machine.apt import Unavailable
from tests.support.machine.machine import Machine
from tests.support.machine.qemu import MachineError

_TOOLS = ("sh", "find", "insmod", "kill", "readlink", "rm", "script")
_SYSTEMD = ("systemctl", "systemd-run", "systemd-analyze", "systemd-notify", "journalctl")
_TRIES = 100
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


def files() -> dict[str, Path | bytes]:
    """Return the files of a shell, its tools and systemd, by their paths in the machine; raises Unavailable."""
    if not all(path.exists() for path in _DAEMONS):
        raise Unavailable("there is no systemd")
    daemons = [
        *_DAEMONS,
        *_DAEMONS[0].parent.glob("systemd-executor"),
    ]  # what 255 and later start units with
    units = [*_UNITS.glob("*.target"), *_UNITS.glob("systemd-journald*")]
    return {
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": b"root:x:0:\n",
        **programs([*_TOOLS, *_SYSTEMD, *map(str, daemons)]),
        **{str(path): path for path in units},
    }


def start(machine: Machine) -> None:
    """Let systemd be the first process of a machine that has its files, and wait until it is up."""
    machine.call("give_way", words=[str(_DAEMONS[0]), "--show-status=no", "--unit=multi-user.target"])
    for _ in range(_TRIES):
        if machine.run("systemctl", "is-system-running").output in ("running\n", "degraded\n"):
            break
        machine.call("sleep", seconds=0.2)
    else:
        raise MachineError("systemd does not come up")
    done = machine.run("systemctl", "start", "systemd-journald.service")
    assert done.status == 0, done.errors
