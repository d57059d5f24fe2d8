# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError, Error, NoInputError, NotPermittedError
from klp import initrd
from klp.initrd import file_names, find_initrds
from tests.support.initrds import PROGRAMS, archive, packed

MICROCODE = {"kernel/x86/microcode/AuthenticAMD.bin": b"x" * 1000}
FILES = {
    "init": b"#!/bin/sh\n",
    "usr/lib/modules/6.4.0/livepatch/livepatch-2.ko": os.urandom(300_000),
    "empty": b"",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_names_are_found(tmp_path: Path, program: str) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(archive(MICROCODE) + b"\0" * 4096 + packed(archive(FILES), program))
    assert list(file_names(path)) == [*MICROCODE, *FILES]


@pytest.mark.parametrize("program", ["zstd", "xz"])
def test_several_archives_may_be_packed_as_one(tmp_path: Path, program: str) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(packed(archive({"first": b""}) + archive({"second": b"1"}), program))
    assert list(file_names(path)) == ["first", "second"]


def test_reading_may_stop_early(tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(packed(archive(FILES), "zstd"))
    names = file_names(path)
    assert next(names) == "init"
    names.close()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    assert children == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_cut_off_is_told(tmp_path: Path, program: str) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(packed(archive(FILES), program)[:100_000])
    with pytest.raises(BadDataError, match="is no initrd that can be read"):
        list(file_names(path))


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        b"070701" + b"x" * 104,
        b"070701" + b"0" * 88 + b"7fffffff" + b"0" * 8,
        packed(b"no archive", "zstd"),
        packed(archive({"a": b""}), "") + b"more",
        packed(archive({"a": b""}), "gzip")[:-4] + b"\1\2\3\4",
    ],
)
def test_what_is_no_initrd_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(content)
    with pytest.raises(BadDataError, match=str(path)):
        list(file_names(path))


@given(content=st.binary(max_size=400))
def test_any_bytes_are_names_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        list(file_names(path))
    except BadDataError:
        pass


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"\0" * 10)
    assert list(file_names(tmp_path / "initrd")) == []


def test_what_unpacks_to_very_much_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(packed(archive({"large": bytes(50_000_000)}), "gzip"))
    monkeypatch.setattr(initrd, "_MOST", 10_000_000)
    start = time.monotonic()
    with pytest.raises(Error, match="takes too long to read"):
        list(file_names(path))
    assert time.monotonic() - start < 30


def test_a_program_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(packed(archive(FILES), "zstd"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Error, match="the program zstd, which unpacks the initrd, is missing"):
        list(file_names(path))


def test_what_is_not_there_or_shut_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        list(file_names(tmp_path / "none"))
    with pytest.raises(BadDataError):
        list(file_names(tmp_path))


def test_an_ordinary_user_may_not_look(open_root: Path) -> None:
    (open_root / "initrd").write_bytes(b"")
    (open_root / "initrd").chmod(0o600)
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        if before:
            pytest.skip("the file is this user's own")
        with pytest.raises(NotPermittedError):
            list(file_names(open_root / "initrd"))
    finally:
        os.seteuid(before)


def test_where_initrds_are(tmp_path: Path) -> None:
    assert find_initrds("6.4.0-1-default", root=str(tmp_path)) == ()
    entries = tmp_path / "boot/efi/loader/entries"
    entries.mkdir(parents=True)
    (tmp_path / "boot/efi/opensuse").mkdir()
    for name in (
        "boot/initrd-6.4.0-1-default",
        "boot/efi/opensuse/initrd-0123",
        "boot/initrd-6.4.0-2-default",
    ):
        (tmp_path / name).write_bytes(b"")
    text = "title openSUSE\nversion {}\nlinux /opensuse/linux\ninitrd /opensuse/initrd-0123\n"
    (entries / "one.conf").write_text(text.format("6.4.0-1-default"))
    (entries / "two.conf").write_text(text.format("6.4.0-2-default").replace("0123", "4567"))
    assert find_initrds("6.4.0-1-default", root=str(tmp_path)) == (
        tmp_path / "boot/initrd-6.4.0-1-default",
        tmp_path / "boot/efi/opensuse/initrd-0123",
    )
