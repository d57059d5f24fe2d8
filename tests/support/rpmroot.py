# SPDX-License-Identifier: GPL-2.0-or-later
"""Roots with an rpm database, where rpm's macros say that it is."""

from __future__ import annotations

import subprocess
from pathlib import Path


def path(root: Path) -> Path:
    """Where the database of a root is."""
    said = subprocess.run(["rpm", "--eval", "%{_dbpath}"], capture_output=True, text=True, check=True)
    return root / said.stdout.strip().lstrip("/")


def create(root: Path) -> Path:
    """Make the directory of a root's database; rpm makes the database itself."""
    path(root).mkdir(parents=True, exist_ok=True)
    return root
