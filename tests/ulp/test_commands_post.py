# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp post``: one nop at each entry that libpulp may divert, and every other byte as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import build_library
from tests.support.libpulp import libpulp, needs_libpulp
from ulp import elf_constants as c
from ulp.elf import Elf

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp

SOURCE = """
static __attribute__((used)) int private(int x) { return x + 1; }
__attribute__((visibility("hidden"), used)) int hidden(int x) { return x + 2; }
int exported(int x) { return x + 3; }
"""
FUNCTIONS = ("private", "hidden", "exported")
OTHER_FORM = "__attribute__((patchable_function_entry(4, 0))) int other(int x) { return x + 4; }"


def entry(path: Path, function: str) -> bytes:
    """The first six bytes of a function, which must have its symbol still."""
    elf = Elf(path.read_bytes(), name=str(path))
    symbol = elf.find(function)
    assert symbol is not None
    return elf.read_address(symbol.value, 6)


@pytest.mark.parametrize("endbr", [False, True])
def test_every_entry_gets_one_nop_and_nothing_else_changes(ulp: Ulp, tmp_path: Path, endbr: bool) -> None:
    path = build_library(tmp_path, SOURCE, pads=True, endbr=endbr)
    before = path.read_bytes()
    assert ulp("post", path) == (0, "", "")
    after = path.read_bytes()
    mark = b"\xf3\x0f\x1e\xfa" if endbr else b""
    for function in FUNCTIONS:
        assert entry(path, function).startswith(mark + b"\x66\x90"), function
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert len(before) == len(after) and len(changed) == 3
    assert all(before[at : at + 2] == b"\x90\x90" and after[at] == 0x66 for at in changed)


def test_a_second_time_changes_nothing_not_even_the_file(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE, pads=True)
    assert ulp("post", "-v", path) == (0, f"{path}: 3 functions changed, 0 in order\n", "")
    inode = path.stat().st_ino
    assert ulp("post", "-v", path) == (0, f"{path}: 0 functions changed, 3 in order\n", "")
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("form", ["stripped", "gold", "cleared"])
def test_addresses_are_found_whoever_linked_it(ulp: Ulp, tmp_path: Path, form: str) -> None:
    if form == "gold" and not shutil.which("ld.gold"):
        pytest.skip("Debian 13 has no gold among its binutils")
    flags = {"stripped": ["-s"], "gold": ["-fuse-ld=gold"], "cleared": []}[form]
    path = build_library(tmp_path, SOURCE, pads=True, flags=flags)
    if form == "cleared":  # as lld leaves them: the relocations have the addresses
        image = bytearray(path.read_bytes())
        section = Elf(bytes(image)).section("__patchable_function_entries")
        assert section is not None
        image[section.offset : section.offset + section.size] = bytes(section.size)
        path.write_bytes(image)
    assert ulp("post", "-v", path)[1] == f"{path}: 3 functions changed, 0 in order\n"
    assert entry(path, "exported").startswith(b"\x66\x90")


def test_space_of_another_form_is_left_alone(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE + OTHER_FORM, pads=True)
    before = entry(path, "other")
    status, out, _ = ulp("post", path, "-v")
    assert (status, out) == (
        0,
        f"{path}: 3 functions changed, 0 in order, 1 with space of another form left as they are\n",
    )
    assert entry(path, "other") == before == b"\x90\x90\x90\x90" + before[4:]


def test_mode_and_attributes_stay_and_a_link_leads_to_it(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE, pads=True)
    path.chmod(0o2751)
    os.setxattr(path, "user.origin", b"here")
    link = tmp_path / "link.so"
    link.symlink_to(path.name)
    assert ulp("post", link)[0] == 0
    assert link.is_symlink() and entry(path, "exported").startswith(b"\x66\x90")
    assert path.stat().st_mode & 0o7777 == 0o2751
    assert os.getxattr(path, "user.origin") == b"here"
    assert not list(tmp_path.glob(".draft-*"))


def test_who_maps_the_file_keeps_the_old_one(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE, pads=True)
    with path.open("rb") as old:
        before = old.read()
        assert ulp("post", path)[0] == 0
        old.seek(0)
        assert old.read() == before != path.read_bytes()


def without_pads(tmp_path: Path) -> Path:
    return build_library(tmp_path, SOURCE)


def with_others_only(tmp_path: Path) -> Path:
    return build_library(tmp_path, OTHER_FORM)


def text(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("no ELF file, but long enough to have the header of one " * 4)
    return tmp_path / "text"


def truncated(tmp_path: Path) -> Path:
    path = build_library(tmp_path, SOURCE, pads=True)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def for_another_machine(tmp_path: Path) -> Path:
    path = build_library(tmp_path, SOURCE, pads=True)
    image = bytearray(path.read_bytes())
    image[18:20] = c.EM_AARCH64.to_bytes(2, "little")
    path.write_bytes(image)
    return path


def an_object(tmp_path: Path) -> Path:
    (tmp_path / "a.c").write_text(SOURCE)
    pads = "-fpatchable-function-entry=16,14"
    subprocess.run(["gcc", "-c", pads, tmp_path / "a.c", "-o", tmp_path / "a.o"], check=True)
    return tmp_path / "a.o"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (without_pads, "it has no section __patchable_function_entries"),
        (with_others_only, "none of its functions has 14 nops before and 2 at its entry"),
        (text, "not an ELF file"),
        (truncated, "is it truncated?"),
        (for_another_machine, "neither a library nor a program for x86_64"),
        (an_object, "neither a library nor a program for x86_64"),
    ],
)
def test_what_is_refused_is_as_it_was(ulp: Ulp, tmp_path: Path, make: object, sentence: str) -> None:
    assert callable(make)
    path = make(tmp_path)
    before, inode = path.read_bytes(), path.stat().st_ino
    status, out, err = ulp("post", path)
    assert (status, out) == (65, "")
    assert err.startswith(f"ulp: {path}: ") and sentence in err
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)


def test_words(ulp: Ulp, tmp_path: Path) -> None:
    assert ulp("post")[0] == 64
    assert ulp("post", "a", "b")[0] == 64
    assert ulp("post", tmp_path / "absent")[0] == 66


def test_time_grows_with_the_number_of_functions_only(ulp: Ulp, tmp_path: Path) -> None:
    """20,000 functions: libpulp's tool looks through all symbols for each of them and takes minutes."""
    source = "\n".join(f"int f{n}(int x) {{ return x + {n}; }}" for n in range(20_000))
    path = build_library(tmp_path, source, pads=True, flags=["-O0"])
    started = time.monotonic()
    assert ulp("post", "-v", path)[1] == f"{path}: 20000 functions changed, 0 in order\n"
    assert time.monotonic() - started < 20


@needs_libpulp
@pytest.mark.parametrize("endbr", [False, True])
def test_the_same_bytes_as_libpulps(ulp: Ulp, tmp_path: Path, endbr: bool) -> None:
    path = build_library(tmp_path, SOURCE, pads=True, endbr=endbr)
    other = tmp_path / "other.so"
    shutil.copy(path, other)
    assert ulp("post", path)[0] == libpulp("post", other).returncode == 0
    assert path.read_bytes() == other.read_bytes()
