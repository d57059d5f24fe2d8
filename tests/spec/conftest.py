# SPDX-License-Identifier: GPL-2.0-or-later
"""What the package installs, made once as its build makes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that ``python3 -m spec.generate`` has filled on the first day of 2026."""
    directory = tmp_path_factory.mktemp("generated")
    subprocess.run(
        [sys.executable, "-m", "spec.generate", directory],
        cwd=ROOT,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1767225600"},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    return directory
