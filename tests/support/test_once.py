# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made once in a test run."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.support import once


def test_made_once_and_not_by_halves(tmp_path_factory: pytest.TempPathFactory) -> None:
    name = f"test-{uuid.uuid4()}"
    made: list[Path] = []

    def make(place: Path) -> None:
        assert list(place.iterdir()) == []
        (place / "file").touch()
        made.append(place)
        if len(made) == 1:
            raise RuntimeError("the first time")

    with pytest.raises(RuntimeError, match="the first time"):
        once.directory(tmp_path_factory, name, make)
    for _ in range(2):
        found = once.directory(tmp_path_factory, name, make)
        assert [path.name for path in found.iterdir()] == ["file"]
    assert len(made) == 2
