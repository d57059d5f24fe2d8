# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets a tree look like a system whose packages are changed in snapshots."""

from __future__ import annotations

from pathlib import Path

from host.transactional import PROGRAM


def write_mounts(root: Path, *kinds: str) -> None:
    """Write the table of mounts; ``kinds`` are the types of file systems on "/", the first one mounted first."""
    lines = [
        f"{at} 1 0:{at} /@/.snapshots/1/snapshot / ro,relatime - {kind} x rw\n"
        for at, kind in enumerate(kinds)
    ]
    lines.append("90 1 0:90 / /home rw - ext4 /dev/x rw\n")
    table = root / "proc/self/mountinfo"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("".join(lines))


def make_transactional(root: Path) -> None:
    """Let a tree look like a transactional host."""
    write_mounts(root, "btrfs")
    (root / PROGRAM).parent.mkdir(parents=True, exist_ok=True)
    (root / PROGRAM).write_text("#!/bin/sh\n")
