# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError, Error, NoInputError
from klp import sysfs
from tests.support.kernel_tree import write_patch


@pytest.mark.parametrize(("text", "value"), [("0\n", 0), ("1\n", 1), ("-1\n", -1), (" 7 ", 7)])
def test_a_number_is_read(tmp_path: Path, text: str, value: int) -> None:
    (tmp_path / "file").write_text(text)
    assert sysfs.number(str(tmp_path / "file")) == value


@pytest.mark.parametrize(
    "text", ["", "\n", "yes\n", "1 0\n", "0x1\n", "1_0\n", "+1\n", "--1\n", "9" * 33, "\x1b[2J"]
)
def test_what_is_no_number_is_refused_with_the_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "enabled"
    path.write_text(text)
    with pytest.raises(BadDataError, match=str(path)):
        sysfs.number(str(path))


@given(content=st.binary(max_size=64))
def test_any_content_is_a_number_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        value = sysfs.number(str(path))
    except BadDataError:
        return
    assert value == int(content)


def test_a_pipe_in_a_saved_tree_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "enabled")
    with pytest.raises(BadDataError):
        sysfs.number(str(tmp_path / "enabled"))
    assert sysfs.text(str(tmp_path / "enabled")) == ""


def test_a_text_is_read_on_where_the_kernel_gives_a_page_at_a_time() -> None:
    """/proc/self/smaps is such a list, of several pages in every Python."""
    content = sysfs.text("/proc/self/smaps", most=1 << 24)
    assert len(content) > 8192
    assert content.count("VmFlags:") == content.count("Rss:")
    assert len(sysfs.text("/proc/self/smaps", most=100)) == 100


def test_a_directory_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="cannot be read"):
        sysfs.number(str(tmp_path))


def test_what_is_gone_is_none(tmp_path: Path) -> None:
    assert sysfs.number(str(tmp_path / "gone")) is None
    assert sysfs.directories(str(tmp_path / "gone")) is None
    assert sysfs.text(str(tmp_path / "gone")) == ""


def test_a_kernel_without_live_patching_differs_from_one_without_live_patches(tmp_path: Path) -> None:
    assert sysfs.patch_names(str(tmp_path)) is None
    (tmp_path / sysfs.DIRECTORY).mkdir(parents=True)
    assert sysfs.patch_names(str(tmp_path)) == []
    assert sysfs.in_transition(str(tmp_path)) == ([], [])


def test_a_root_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(NoInputError, match=name):
            sysfs.patch_names(str(tmp_path / name))


def test_transitions_are_found_beside_files_that_cannot_be_read(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=0)
    write_patch(tmp_path, "livepatch_2", transition=1)
    write_patch(tmp_path, "livepatch_3", transition="?")
    moving, problems = sysfs.in_transition(str(tmp_path))
    assert moving == ["livepatch_2"]
    assert [type(problem) for problem in problems] == [BadDataError]
    assert all(
        isinstance(problem, Error) and "livepatch_3/transition" in problem.sentence for problem in problems
    )
