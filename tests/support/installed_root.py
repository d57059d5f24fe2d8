# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a directory the root of an rpm database, with packages that were built on the spot."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import rpms


def database_directory(root: Path) -> Path:
    """Return where rpm keeps the database of the system under a root."""
    path = subprocess.run(
        ["rpm", "-E", "%_dbpath"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return root / path.lstrip("/")


def install(root: Path, specs: Sequence[rpms.Spec], *, work: Path) -> None:
    """Build packages and enter them into the root's database; their files are not unpacked."""
    database = database_directory(root)
    database.mkdir(parents=True, exist_ok=True)
    files = rpms.build(specs, into=work / "packages", work=work / "build")
    command = ["rpm", "--dbpath", str(database), "--install", "--justdb", "--nodeps", *map(str, files)]
    subprocess.run(command, check=True, capture_output=True)
