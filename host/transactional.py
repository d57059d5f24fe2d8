# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether packages are changed in snapshots that count from the next boot on (transactional-update(8))."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PROGRAM = "usr/sbin/transactional-update"

_LARGEST = 4 << 20  # bytes of the table of mounts
_SNAPSHOT = re.compile(r"(?:^|/)\.snapshots/([0-9]+)/snapshot$")
_PATIENCE = 10.0  # seconds for btrfs


class Base(NamedTuple):
    """What the next update goes on from."""

    snapshot: str = ""  # its root; "" for the running system
    problem: str = ""  # why it is not known: the running system stands in for it


def is_transactional(root: str = "/") -> bool:
    """Tell whether the system under a root is one: as libzypp does, by a root on btrfs and the program."""
    return Path(root, PROGRAM).is_file() and _mount_of_root(root)[1] == "btrfs"


def next_base(root: str = "/") -> Base:
    """Return what ``transactional-update --continue`` goes on from in the system under a root.

    It is the default snapshot, which the next boot starts (transactional-update(8), btrfs-subvolume(8)).
    """
    if root != "/":
        return _unknown("that can only be seen in the system itself")
    command = ["btrfs", "subvolume", "get-default", "/"]  # for root only
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _unknown(str(error))
    default = _SNAPSHOT.search(done.stdout.strip())
    if default is None:
        return _unknown(done.stderr.strip().partition("\n")[0] or "the default subvolume is no snapshot")
    running = _SNAPSHOT.search(_mount_of_root("/")[0])
    if running is not None and running[1] == default[1]:
        return Base()
    place = f"/.snapshots/{default[1]}/snapshot"
    return Base(place) if os.path.isdir(f"{place}/usr") else _unknown(f"{place} cannot be looked into")


def _unknown(why: str) -> Base:
    return Base(
        problem=f"the snapshot that is continued is not known ({why}); this is about the running system"
    )


def update_root(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the root of the snapshot that a running update changes, if this process is a part of one.

    transactional-update sets TRANSACTIONAL_UPDATE for all that it starts, and the path from its version 4.1 on
    ("/" before). Inside of the snapshot the path does not exist: there "/" is meant.
    """
    if environment.get("TRANSACTIONAL_UPDATE", "").lower() not in ("1", "true", "yes"):
        return None
    path = environment.get("TRANSACTIONAL_UPDATE_ROOT", "")
    return path if os.path.isabs(path) and os.path.isdir(path) else "/"


def _mount_of_root(root: str) -> tuple[str, str]:
    """Return what part of which type of file system is on "/" (proc_pid_mountinfo(5)), "" where nobody tells."""
    try:
        with Path(root, "proc/self/mountinfo").open("rb") as file:
            lines = file.read(_LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return "", ""
    found = "", ""
    for line in lines:  # the last mount on a place is the one that is seen
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if fields[4:5] == ["/"]:
            found = fields[3], after.partition(" ")[0]
    return found
