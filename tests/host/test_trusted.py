# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that only root can have written; tests/zypp_plugin/test_selection.py has those of packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.errors import BadDataError, NoInputError
from host.trusted import UntrustedError, read_trusted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one file."""
    file = tmp_path / "usr/lib64/file"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"content")
    return tmp_path


def read(root: Path, path: str = "/usr/lib64/file") -> bytes:
    return read_trusted(path, root=str(root), limit=100)


def test_a_file_of_root(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    assert read(root) == read(root, "usr/lib64//file".replace("//", "/")) == b"content"
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("path", ["", "usr", "usr/lib64", "usr/lib64/file"])
def test_each_place_on_the_way_has_to_be_roots_alone(root: Path, path: str) -> None:
    before = (root / path).stat().st_mode
    for mode in (0o020, 0o002):
        (root / path).chmod(before | mode)
        with pytest.raises(UntrustedError, match="can be written by"):
            read(root)
        (root / path).chmod(before)
    os.chown(root / path, 1, 0)
    with pytest.raises(UntrustedError, match="belongs to user 1, not to root"):
        read(root)


@pytest.mark.parametrize("path", ["usr", "usr/lib64", "usr/lib64/file"])
def test_no_link_is_followed(root: Path, path: str) -> None:
    (root / path).rename(root / "elsewhere")
    (root / path).symlink_to(root / "elsewhere")
    with pytest.raises(UntrustedError, match="is a symbolic link"):
        read(root)


def test_what_is_no_file(root: Path) -> None:
    os.mkfifo(root / "fifo")
    for path in ("fifo", "usr"):
        with pytest.raises(UntrustedError, match="is no regular file"):
            read(root, path)
    for path in ("missing", "usr/missing/file", "usr/lib64/file/below"):
        with pytest.raises(NoInputError):
            read(root, path)
    with pytest.raises(NoInputError):
        read(root / "gone")
    (root / "large").write_bytes(bytes(101))
    with pytest.raises(BadDataError, match="larger than"):
        read(root, "large")
