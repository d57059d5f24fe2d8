# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections are added and replaced without touching anything else, as binutils sees it."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from host.errors import BadDataError
from tests.support.containers import build_library
from ulp import elf_constants as c
from ulp.elf import Elf
from ulp.section_writer import with_sections

SOURCE = '#include <stdio.h>\nint f(void) { return puts("x"); }\nint g(void) { return 41; }'


@pytest.fixture(params=[(), ("-s",), ("-g",), ("-Wl,-z,noseparate-code",)], ids=str)
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return build_library(tmp_path, SOURCE, flags=request.param)


def readelf(path: Path, *options: str) -> str:
    done = subprocess.run(["readelf", "-W", *options, path], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # it warns about every inconsistency
    return done.stdout


def test_added_sections_are_seen_by_readelf_and_nothing_else_changes(library: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.so"
    changed.write_bytes(with_sections(library.read_bytes(), {".one": b"first", ".two": b"second!"}))
    output = readelf(changed, "-S", "-p", ".one", "-p", ".two")
    assert re.search(r"\.one +PROGBITS +0+ [0-9a-f]+ 000005 00 +0 +0 +1$", output, re.MULTILINE)
    assert "first" in output and "second!" in output
    for options in (("-l",), ("-d",), ("-s",), ("-r",), ("-n",), ("-V",), ("-h",)):
        before, after = (readelf(path, *options) for path in (library, changed))
        ignored = r"(section headers: +|Section header string table index: +|Start of section headers: +)\d+"
        assert re.sub(ignored, r"\1", before) == re.sub(ignored, r"\1", after)
    assert ctypes.CDLL(str(changed)).g() == 41


def test_sections_that_were_there_keep_index_and_content(library: Path) -> None:
    before = Elf(library.read_bytes())
    after = Elf(with_sections(library.read_bytes(), {".one": b"first"}))
    assert [section.name for section in after.sections] == [*(each.name for each in before.sections), ".one"]
    for old, new in zip(before.sections, after.sections, strict=False):
        if old.name != ".shstrtab":
            assert old == new
            assert before.content(old) == after.content(new)


def test_replacing_again_and_again_does_not_let_the_file_grow(library: Path) -> None:
    image = with_sections(library.read_bytes(), {".one": b"first", ".two": b"second"})
    again = image
    for _ in range(5):
        again = with_sections(again, {".one": b"x" * 1000, ".two": b""})
        again = with_sections(again, {".one": b"first", ".two": b"second"})
    assert again == image


def test_sections_of_objcopy_are_replaced(library: Path, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"from objcopy")
    changed = tmp_path / "changed.so"
    subprocess.run(["objcopy", "--add-section", f".one={content}", library, changed], check=True)
    image = with_sections(changed.read_bytes(), {".one": b"from us, and longer than it was"})
    elf = Elf(image)
    section = elf.section(".one")
    assert section and elf.content(section) == b"from us, and longer than it was"
    changed.write_bytes(image)
    readelf(changed, "-a")
    subprocess.run(["objcopy", "--update-section", f".one={content}", changed], check=True)
    elf = Elf(changed.read_bytes())
    section = elf.section(".one")
    assert section and elf.content(section) == b"from objcopy"


def test_names_that_share_their_table_with_symbols(tmp_path: Path) -> None:
    """clang and lld write one table for the names of both; here it is faked."""
    image = bytearray(build_library(tmp_path, SOURCE).read_bytes())
    elf = Elf(bytes(image))
    names = next(at for at, section in enumerate(elf.sections) if section.name == ".shstrtab")
    symtab = next(at for at, section in enumerate(elf.sections) if section.type == c.SHT_SYMTAB)
    start = int.from_bytes(image[40:48], "little")
    strtab = elf.sections[symtab].link
    joined = elf.content(elf.sections[strtab]) + elf.content(elf.sections[names])
    offset = len(elf.content(elf.sections[strtab]))
    where = len(image)
    image += joined
    for at in range(len(elf.sections)):
        name = int.from_bytes(image[start + 64 * at : start + 64 * at + 4], "little")
        image[start + 64 * at : start + 64 * at + 4] = (name + offset).to_bytes(4, "little")
    for at in (names, strtab):
        image[start + 64 * at + 24 : start + 64 * at + 40] = where.to_bytes(8, "little") + len(
            joined
        ).to_bytes(8, "little")
    image[start + 64 * symtab + 40 : start + 64 * symtab + 44] = names.to_bytes(4, "little")
    changed = Elf(with_sections(bytes(image), {".one": b"first"}))
    assert {symbol.name for symbol in changed.symbols(".symtab")} == {
        symbol.name for symbol in elf.symbols(".symtab")
    }
    section = changed.section(".one")
    assert section and changed.content(section) == b"first"


@pytest.mark.parametrize("name", [".text", ".dynstr"])
def test_what_is_loaded_is_not_replaced(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadDataError, match="part of what is loaded"):
        with_sections(build_library(tmp_path, SOURCE).read_bytes(), {name: b"x"})


def test_files_without_section_headers_or_cut_short_are_refused(tmp_path: Path) -> None:
    image = bytearray(build_library(tmp_path, SOURCE).read_bytes())
    with pytest.raises(BadDataError):
        with_sections(bytes(image[:-100]), {".one": b"x"})
    image[40:48] = bytes(8)
    image[58:64] = bytes(6)
    with pytest.raises(BadDataError, match="do not allow another section"):
        with_sections(bytes(image), {".one": b"x"})
