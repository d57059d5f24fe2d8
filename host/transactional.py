# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether packages are changed in snapshots that count from the next boot on (transactional-update(8))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PROGRAM = "usr/sbin/transactional-update"

_LARGEST = 4 << 20  # bytes of the table of mounts


def is_transactional(root: str = "/") -> bool:
    """Tell whether the system under a root is one: as libzypp does, by a root on btrfs and the program."""
    return Path(root, PROGRAM).is_file() and _type_of_root(root) == "btrfs"


def update_root(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the root of the snapshot that a running update changes, if this process is a part of one.

    transactional-update sets TRANSACTIONAL_UPDATE for all that it starts, and the path from its version 4.1 on
    ("/" before). Inside of the snapshot the path does not exist: there "/" is meant.
    """
    if environment.get("TRANSACTIONAL_UPDATE", "").lower() not in ("1", "true", "yes"):
        return None
    path = environment.get("TRANSACTIONAL_UPDATE_ROOT", "")
    return path if os.path.isabs(path) and os.path.isdir(path) else "/"


def _type_of_root(root: str) -> str:
    """Return the type of the file system on "/" (proc_pid_mountinfo(5)), "" where nobody tells."""
    try:
        with Path(root, "proc/self/mountinfo").open("rb") as file:
            lines = file.read(_LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return ""
    kind = ""
    for line in lines:  # the last mount on a place is the one that is seen
        before, _, after = line.partition(" - ")
        if before.split(" ")[4:5] == ["/"]:
            kind = after.partition(" ")[0]
    return kind
