# SPDX-License-Identifier: GPL-2.0-or-later
"""Files are read without hanging and replaced as a whole (containers' tests try what is no file)."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from host.errors import BadDataError, Error, ExitStatus, NoInputError
from host.files import open_regular, read_regular, replace_file


def test_contents_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_regular(str(path), limit=1000) == b"x" * 1000
    with pytest.raises(BadDataError, match="larger"):
        read_regular(str(path), limit=999)


def test_files_of_proc_have_contents_though_no_size() -> None:
    assert read_regular("/proc/self/comm", limit=100).endswith(b"\n")
    with pytest.raises(BadDataError, match="larger"):
        read_regular("/proc/self/maps", limit=100)


def test_descriptor_is_not_inherited(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    descriptor = open_regular(str(tmp_path / "file"))
    try:
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NoInputError, match="Not a directory"):
        read_regular(str(tmp_path / "file" / "more"), limit=1)


def test_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BadDataError, match="symbolic links"):
        read_regular(str(tmp_path / "loop"), limit=1)


def test_replacing_keeps_mode_link_and_directory_clean(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to("file")
    inode = path.stat().st_ino
    replace_file(str(link), b"new and longer")
    assert link.is_symlink()
    assert path.read_bytes() == b"new and longer"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != inode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_replacing_keeps_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    replace_file(str(path), b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_replacing_keeps_extended_attributes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    replace_file(str(path), b"new")
    assert os.getxattr(path, "user.note") == b"kept"


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A full disk, played by a limit on the size of files in a child."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            replace_file(str(path), bytes(1 << 20))
        except Error as error:
            status = (
                0 if error.status is ExitStatus.CANNOT_CREATE and "File too large" in error.sentence else 2
            )
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        replace_file(str(tmp_path / "absent"), b"x")
    assert list(tmp_path.iterdir()) == []
