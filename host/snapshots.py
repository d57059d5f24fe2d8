# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshot that the next boot starts, as far as live patches in it are for what runs until then.

Its live patches are applied to the processes that run. What starts before the reboot still loads the old library: the
watcher finds the live patches for that where /run/zypp-livepatch/snapshot says.
"""

from __future__ import annotations

import os

from host.errors import Error
from host.files import read_regular

FILE = "run/zypp-livepatch/snapshot"
_LONGEST = 4096


def remember(snapshot: str) -> None:
    """Let the watcher know of a snapshot with live patches; what cannot be written is as if nobody watched."""
    path = f"/{FILE}"
    draft = f"{path}.{os.getpid()}"
    try:
        with open(draft, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(snapshot)
        os.rename(draft, path)
    except OSError:
        pass


def remembered(*, root: str = "/") -> str:
    """Return the snapshot that was remembered since the last boot, "" if there is none or it is gone."""
    try:
        path = os.fsdecode(read_regular(os.path.join(root, FILE), limit=_LONGEST))
    except Error:
        return ""
    return path if os.path.isabs(path) and os.path.isdir(path) else ""


def note(snapshot: str) -> str:
    """Say what live patches in a snapshot are for, and who covers what starts before the reboot."""
    return (
        f"what runs is patched from the snapshot {snapshot}; programs that start before the reboot still load "
        "the old library: zypp-livepatch-watch.service patches them, if it runs"
    )
