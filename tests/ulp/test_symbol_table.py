# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols found in memory against those in the files, for every symbol and version of the C library."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.containers import build_library
from tests.support.images import loading, mapped
from ulp import elf_constants as c
from ulp.image import image_at
from ulp.process import Object, Process

STYLES = ["both", "sysv", "gnu"]
TYPES = {"STT_NOTYPE": 0, "STT_OBJECT": 1, "STT_FUNC": 2, "STT_TLS": 6, "STT_LOOS": 10, "STT_GNU_IFUNC": 10}
BIAS = 0x7F00_0000_0000


def definitions(path: Path) -> Iterator[tuple[str, str, bool, int, int, int]]:
    """Yield (name, version, is the default, value, size, type) of what a file defines, by pyelftools."""
    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        versions = elf.get_section_by_name(".gnu.version")
        names = {}
        defined = elf.get_section_by_name(".gnu.version_d")
        if defined is not None:
            for definition, auxiliaries in defined.iter_versions():
                if not definition["vd_flags"] & 1:
                    names[definition["vd_ndx"]] = next(iter(auxiliaries)).name
        for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            if (
                symbol["st_shndx"] == "SHN_UNDEF"
                or symbol["st_info"]["bind"] == "STB_LOCAL"
                or not symbol.name
            ):
                continue
            number = versions.get_symbol(index)["ndx"] if versions is not None else 1
            if isinstance(number, str):
                number = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}[number]
            yield (
                symbol.name,
                names.get(number & 0x7FFF, ""),
                not number & 0x8000,
                symbol["st_value"],
                symbol["st_size"],
                TYPES[symbol["st_info"]["type"]],
            )


def check(item: Object, path: Path) -> int:
    """Compare every definition of a file with what is found in memory; gives how many there were."""
    count = 0
    for name, version, default, value, size, kind in definitions(path):
        count += 1
        found = item.image.symbols.find(name, version)
        assert found is not None, (name, version)
        if not version and default:  # without a version, the default one is meant
            assert found.value == value or not found.version
        else:
            assert found == (name, value, size, kind, version)
        if default:
            found = item.image.symbols.find(name)
            assert found == (name, value, size, kind, version), (name, version)
        assert item.image.symbols.find(name, "NO_SUCH_VERSION") is None or not version
    return count


@pytest.mark.parametrize("soname", ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libz.so.1"])
def test_every_symbol_of_every_version(soname: str) -> None:
    with Process(os.getpid(), images={}) as process:
        found = [item for item in process.linked_objects() if item.image.soname == soname]
        if not found:
            pytest.skip(f"this Python does not use {soname}")
        (item,) = found
        begin = time.monotonic()
        count = check(item, Path(item.path))
        assert count > (2500 if soname == "libc.so.6" else 20)
        assert time.monotonic() - begin < 20


SOURCE = """
int plain(void) { return 1; }
int data = 5;
const char table[300] = "table";
__attribute__((weak)) int weak(void) { return 2; }
__thread int variable;
int old_answer(void) { return 3; }
int new_answer(void) { return 4; }
int newest_answer(void) { return 5; }
__asm__(".symver old_answer, answer@V1\\n.symver new_answer, answer@V2\\n.symver newest_answer, answer@@V3");
static int hidden_answer(void) { return 6; }
static int (*resolve(void))(void) { return hidden_answer; }
int chosen(void) __attribute__((ifunc("resolve")));
int outside(void);
int (*reference)(void) = outside;
"""
SCRIPT = "V1 { global: plain; weak; answer; local: reference; };"
SCRIPT += " V2 { global: data; table; chosen; } V1; V3 { global: variable; } V2;"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("libraries")
    script = where / "script"
    script.write_text(SCRIPT)
    built = {}
    for style in STYLES:
        flags = [f"-Wl,--hash-style={style}"]
        built[style] = build_library(
            where, SOURCE, name=f"lib{style}.so", flags=[*flags, f"-Wl,--version-script={script}"]
        )
        built[f"{style}-unversioned"] = build_library(
            where, SOURCE.partition("__asm__")[0], name=f"libu{style}.so", flags=flags
        )
        many = "".join(f"int name_{number}(void) {{ return {number}; }}\n" for number in range(600))
        built[f"{style}-many"] = build_library(where, many, name=f"libm{style}.so", flags=flags)
    return built


KINDS = [f"{style}{kind}" for style in STYLES for kind in ("", "-unversioned", "-many")]


@pytest.mark.parametrize("kind", KINDS)
def test_libraries_of_every_kind(libraries: dict[str, Path], kind: str) -> None:
    path = libraries[kind]
    memory = mapped(path.read_bytes(), BIAS)
    image = image_at(memory, BIAS, {})
    assert (image.dynamic_value(c.DT_HASH) == 0, image.dynamic_value(c.DT_GNU_HASH) == 0) == {
        "both": (False, False), "sysv": (False, True), "gnu": (True, False),
    }[kind.partition("-")[0]]  # fmt: skip
    assert check(Object(str(path), BIAS, image), path) >= (600 if "many" in kind else 5)
    for absent in (
        "",
        "absent",
        "outside",
        "plai",
        "plainn",
        "p" * 10_000,
        "\udcff",
        "answer@V1",
        "hidden_answer",
    ):
        assert image.symbols.find(absent) is None, absent
        assert image.symbols.find(absent, "V1") is None


@pytest.mark.parametrize("style", STYLES)
def test_versions_are_chosen_as_the_dynamic_linker_does(libraries: dict[str, Path], style: str) -> None:
    image = image_at(mapped(libraries[style].read_bytes(), BIAS), BIAS, {})
    addresses = {version: image.symbols.find("answer", version) for version in ("V1", "V2", "V3", "")}
    values = [symbol.value for symbol in addresses.values() if symbol is not None]
    assert len(values) == 4 and len(set(values)) == 3
    assert addresses[""] == addresses["V3"]
    assert image.symbols.find("answer", "V4") is None
    kinds = {"chosen": c.STT_GNU_IFUNC, "variable": c.STT_TLS, "data": c.STT_OBJECT, "weak": c.STT_FUNC}
    for name, kind in kinds.items():
        symbol = image.symbols.find(name)
        assert symbol is not None and symbol.type == kind
    table = image.symbols.find("table", "V2")
    assert table is not None and table.size == 300
    assert image.read(table.value, 6) == b"table\0"


def test_a_library_without_versions_satisfies_any_version(libraries: dict[str, Path]) -> None:
    """As ld.so: a reference to a version is bound to a definition that has none."""
    for style in STYLES:
        image = image_at(mapped(libraries[f"{style}-unversioned"].read_bytes(), BIAS), BIAS, {})
        assert image.symbols.find("plain", "WHATEVER") == image.symbols.find("plain")


def test_what_the_dynamic_linker_itself_finds() -> None:
    libc = ctypes.CDLL(None)
    libc.dlvsym.restype = ctypes.c_void_p
    libc.dlvsym.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
    with Process(os.getpid(), images={}) as process:
        (item,) = [item for item in process.linked_objects() if item.image.soname == "libc.so.6"]
        compared = 0
        for name, version, _, value, _, kind in definitions(Path(item.path)):
            if kind == c.STT_FUNC and version.startswith("GLIBC_2"):
                address = libc.dlvsym(None, name.encode(), version.encode())
                if address and item.bias <= address < item.bias + item.image.end:
                    symbol = item.image.symbols.find(name, version)
                    assert symbol is not None and item.bias + symbol.value == address, (name, version)
                    assert symbol.value == value
                    compared += 1
        assert compared > 1500


def test_names_in_the_table() -> None:
    with Process(os.getpid(), images={}) as process:
        (item,) = [item for item in process.linked_objects() if item.image.soname == "libc.so.6"]
        table = item.image.dynamic_value(c.DT_SYMTAB)
        with Path(item.path).open("rb") as file:
            elf: Any = ELFFile(file)
            for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
                assert item.image.symbols.name_at(table + 24 * index) == symbol.name


def test_a_relocated_image_and_an_unrelocated_one_agree(libraries: dict[str, Path]) -> None:
    path = libraries["both-many"]
    with loading(path) as pid, Process(pid, images={}) as process:
        (item,) = [item for item in process.linked_objects() if item.path == str(path)]
        assert check(item, path) >= 600
