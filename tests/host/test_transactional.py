# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from host.transactional import PROGRAM, is_transactional, update_root
from tests.support.transactional import write_mounts


@pytest.mark.parametrize(
    ("kinds", "has_program", "expected"),
    [
        (["btrfs"], True, True),
        (["btrfs"], False, False),
        (["xfs"], True, False),
        (["btrfs", "overlay"], True, False),  # what is mounted last is what is seen
        (["rootfs", "btrfs"], True, True),
        ([], True, False),
    ],
)
def test_a_transactional_host(tmp_path: Path, kinds: list[str], has_program: bool, expected: bool) -> None:
    write_mounts(tmp_path, *kinds)
    if has_program:
        (tmp_path / PROGRAM).parent.mkdir(parents=True)
        (tmp_path / PROGRAM).write_text("")
    assert is_transactional(str(tmp_path)) is expected


def test_no_table_of_mounts(tmp_path: Path) -> None:
    (tmp_path / PROGRAM).parent.mkdir(parents=True)
    (tmp_path / PROGRAM).write_text("")
    assert is_transactional(str(tmp_path)) is False


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TRANSACTIONAL_UPDATE": "false"}, None),
        ({"TRANSACTIONAL_UPDATE_ROOT": "/tmp"}, None),
        ({"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": "/tmp"}, "/tmp"),
        ({"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": "/.snapshots/7/snapshot"}, "/"),
        ({"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": "tmp"}, "/"),
        ({"TRANSACTIONAL_UPDATE": "true"}, "/"),
    ],
)
def test_inside_of_an_update(environment: dict[str, str], expected: str | None) -> None:
    assert update_root(environment) == expected
