# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp extract``: the JSON that stands for a library, for our packer and for libpulp's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.containers import build_library
from tests.support.libpulp import libpulp, needs_libpulp
from ulp import container
from ulp.library import read_library

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp

SOURCE = """
#include <stdlib.h>
int variable = 1;
__thread int padding = 1, per_thread = 2;
static __attribute__((used)) int private(void) { return 1; }
__attribute__((visibility("hidden"), used)) int hidden(void) { return 2; }
int exported(void) { return 3; }
void *uses(void) { return malloc(1); }
"""
NAMES = ("variable", "padding", "per_thread", "private", "hidden", "exported")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return build_library(tmp_path, SOURCE, name="libthis.so.3")


@pytest.fixture
def split(tmp_path: Path, library: Path) -> tuple[Path, Path]:
    """A stripped library and the debug information that was stripped off."""
    debug = tmp_path / "libthis.so.3.debug"
    subprocess.run(["objcopy", "--only-keep-debug", library, debug], check=True)
    subprocess.run(["strip", library], check=True)
    return library, debug


def extracted(ulp: Ulp, *words: str | Path) -> dict[str, Any]:
    status, out, err = ulp("extract", *words, "-o", "-")
    assert (status, err) == (0, "")
    (key,) = json.loads(out)
    assert key == "library"
    found: dict[str, Any] = json.loads(out)["library"]
    return found


def test_name_build_id_and_symbols(ulp: Ulp, library: Path) -> None:
    found = extracted(ulp, library)
    real = read_library(str(library))
    assert list(found) == ["name", "buildid", "symbols"]
    assert (found["name"], found["buildid"]) == ("libthis.so.3", real.build_id.hex())
    by_name = {symbol["name"]: symbol for symbol in found["symbols"]}
    for name in NAMES:
        symbol = real.symbol(name)
        assert by_name[name] == {
            "name": name,
            "offset": symbol.value,
            "size": symbol.size,
            "st_info": symbol.info,
            "st_other": symbol.other,
        }
    assert by_name["malloc"]["offset"] == 0  # what is undefined is named, too, as libpulp does
    assert "" not in by_name


def test_it_goes_to_out_json_or_where_it_is_told_to(
    ulp: Ulp, library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ulp("extract", library) == (0, "", "")
    text = Path("out.json").read_text()
    assert text == ulp("extract", library, "--output=-")[1]
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "old.json").chmod(0o600)
    mask = os.umask(0o027)
    try:
        for name in ("old.json", "new.json"):
            assert ulp("extract", "--out", name, library) == (0, "", "")
            assert Path(name).read_text() == text
    finally:
        os.umask(mask)
    assert Path("old.json").stat().st_mode & 0o777 == 0o600
    assert Path("new.json").stat().st_mode & 0o777 == 0o640
    assert not list(tmp_path.glob(".draft-*"))


def test_output_that_is_no_file_is_written_to(ulp: Ulp, library: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    reader.start()
    assert ulp("extract", library, "-o", fifo)[0] == 0
    reader.join(20)
    assert read == [ulp("extract", library, "-o", "-")[1]]
    assert fifo.is_fifo()
    status, _, err = ulp("extract", library, "-o", "/dev/full")
    assert (status, err) == (73, "ulp: /dev/full: No space left on device\n")


@pytest.mark.parametrize("output", ["absent/out.json", "."])
def test_output_that_cannot_be_written(ulp: Ulp, library: Path, tmp_path: Path, output: str) -> None:
    status, out, err = ulp("extract", library, "-o", tmp_path / output)
    assert (status, out, err.count("\n")) in {(66, "", 1), (73, "", 1)}
    assert not list(tmp_path.glob(".draft-*")) and not list(tmp_path.parent.glob(".ulp-*"))


def test_debug_information_brings_back_what_was_stripped(ulp: Ulp, split: tuple[Path, Path]) -> None:
    library, debug = split
    names = {symbol["name"] for symbol in extracted(ulp, library)["symbols"]}
    assert "exported" in names and "private" not in names
    found = extracted(ulp, library, "--with-debuginfo", debug)
    assert found["name"] == "libthis.so.3"
    assert set(NAMES) <= {symbol["name"] for symbol in found["symbols"]}


def test_debug_information_of_another_build_is_refused(
    ulp: Ulp, split: tuple[Path, Path], tmp_path: Path
) -> None:
    _, debug = split
    (tmp_path / "other").mkdir()
    other = build_library(tmp_path / "other", SOURCE + "int more;", name="libthis.so.3")
    status, out, err = ulp("extract", other, "-d", debug, "-o", tmp_path / "out.json")
    assert (status, out) == (65, "")
    for path in (debug, other):
        assert read_library(str(other)).build_id.hex() in err and str(path) in err
    assert not (tmp_path / "out.json").exists()


def test_files_that_are_refused(ulp: Ulp, library: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text " * 100)
    nameless = build_library(tmp_path, SOURCE, name="x.so", flags=["-Wl,--build-id=none"])
    assert ulp("extract", tmp_path / "text", "-o", "-")[0] == 65
    assert ulp("extract", nameless, "-o", "-")[0] == 65
    assert ulp("extract", library, "-d", nameless, "-o", "-")[0] == 65
    assert ulp("extract", tmp_path / "absent", "-o", "-")[0] == 66
    assert ulp("extract")[0] == ulp("extract", library, library)[0] == 64


def describe(tmp_path: Path, target: Path) -> Path:
    """A live patch that needs symbols of every kind; its description is beside it."""
    source = (
        "int *variable_at; unsigned long index[2];"
        "int new_one(void) { return 10; } int new_two(void) { return 20; } int new_three(void) { return 30; }"
    )
    patch = build_library(tmp_path, source, name="patch.so")
    path = tmp_path / "patch.dsc"
    path.write_text(
        f"{patch}\n@{target}\nprivate:new_one\nhidden:new_two\nexported:new_three\n"
        "#variable:variable_at\n#%per_thread:index\n"
    )
    return path


def packed(ulp: Ulp, described: Path) -> container.Container:
    status, out, err = ulp("packer", described)
    assert (status, out) == (0, ""), err
    return container.read(described.with_name("patch.so"))


@pytest.mark.parametrize("stripped", [False, True])
def test_our_packer_takes_the_json_for_the_library(
    ulp: Ulp, library: Path, tmp_path: Path, stripped: bool
) -> None:
    direct = packed(ulp, describe(tmp_path, library))
    words: list[str | Path] = []
    if stripped:
        subprocess.run(["objcopy", "--only-keep-debug", library, tmp_path / "debug"], check=True)
        subprocess.run(["strip", library], check=True)
        words = ["-d", tmp_path / "debug"]
    assert ulp("extract", library, *words, "-o", tmp_path / "this.json")[0] == 0
    library.unlink()
    by_json = packed(ulp, describe(tmp_path, tmp_path / "this.json"))
    assert (by_json.target_name, by_json.build_id) == (direct.target_name, direct.build_id)
    assert (by_json.units, by_json.references) == (direct.units, direct.references)


def test_versions_and_private_doubles_are_told_apart_as_in_the_library(ulp: Ulp, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("V1 { global: f; }; V2 { global: f; twice; local: *; } V1;")
    (tmp_path / "other.c").write_text("static __attribute__((used)) int twice(void) { return 9; }")
    source = """
    __asm__(".symver old_f, f@V1"); __asm__(".symver new_f, f@@V2");
    int old_f(void) { return 1; } int new_f(void) { return 2; } int twice(void) { return 3; }
    """
    flags = [f"-Wl,--version-script={tmp_path / 'script'}", str(tmp_path / "other.c")]
    library = build_library(tmp_path, source, name="libversions.so.1", flags=flags)
    assert ulp("extract", library, "-o", tmp_path / "v.json")[0] == 0
    real, read = read_library(str(library)), read_library(str(tmp_path / "v.json"))
    for name in ("f", "twice"):
        assert read.symbol(name).value == real.symbol(name).value


@needs_libpulp
def test_libpulp_writes_the_same(ulp: Ulp, library: Path, split: tuple[Path, Path], tmp_path: Path) -> None:
    del split
    whole = build_library(tmp_path, SOURCE, name="whole.so")
    for path in (library, whole, Path("/bin/sh").resolve()):
        theirs = json.loads(libpulp("extract", path, "-o", "-").stdout)["library"]
        ours = extracted(ulp, path)
        assert [{**symbol, "version_hidden": None} for symbol in ours.pop("symbols")] == [
            {**symbol, "version_hidden": None} for symbol in theirs.pop("symbols")
        ]
        assert ours == theirs


@needs_libpulp
def test_each_packer_takes_the_json_of_the_other(ulp: Ulp, library: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    assert ulp("extract", library, "-o", ours)[0] == 0
    assert libpulp("extract", library, "-o", theirs).returncode == 0
    expected = packed(ulp, describe(tmp_path, library))
    assert packed(ulp, describe(tmp_path, theirs)).units == expected.units
    shutil.copy(tmp_path / "patch.so", tmp_path / "before.so")
    done = libpulp("packer", describe(tmp_path, ours))
    assert done.returncode == 0, done.stdout + done.stderr
    found = container.read(tmp_path / "patch.so")
    assert (found.target_name, found.build_id) == (expected.target_name, expected.build_id)
    assert (found.units, found.references) == (expected.units, expected.references)
