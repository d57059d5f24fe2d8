# SPDX-License-Identifier: GPL-2.0-or-later
"""The ELF reader against pyelftools and readelf, with what gcc makes, and against hostile files."""

from __future__ import annotations

import mmap
import re
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host.errors import BadDataError
from tests.support.containers import build_library
from ulp import elf_constants as c
from ulp.elf import HEADER, PROGRAM_HEADER, Elf

SOURCE = """
#include <stdlib.h>
#include <string.h>
static int private_data[3] = {1, 2, 3};
int *exported_pointer = private_data;
__thread int per_thread = 4;
__attribute__((visibility("hidden"))) int hidden(void) { return 5; }
__attribute__((weak)) int weak(void) { return 6; }
static void resolver_target(void) {}
static void (*resolve(void))(void) { return resolver_target; }
void chosen(void) __attribute__((ifunc("resolve")));
char *copy(const char *text) { char *to = malloc(strlen(text) + 1); return to ? strcpy(to, text) : 0; }
int more(void) { return hidden() + private_data[1] + per_thread; }
"""
VERSIONS = (
    "OLD { global: more; weak; local: *; }; NEW { global: copy; exported_pointer; per_thread; chosen; } OLD;"
)
KINDS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "stripped": ("-s",),
    "no-sections": ("-Wl,-z,nosectionheader",),
    "sysv-hash": ("-Wl,--hash-style=sysv",),
    "gnu-hash": ("-Wl,--hash-style=gnu",),
    "packed": ("-Wl,-z,pack-relative-relocs",),
    "bind-now": ("-Wl,-z,now,-z,relro",),
    "one-segment": ("-Wl,-z,noseparate-code",),
}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source above, linked in each way."""
    where = tmp_path_factory.mktemp("libraries")
    script = where / "versions"
    script.write_text(VERSIONS)
    built = {}
    for kind, flags in KINDS.items():
        if kind == "no-sections":
            continue
        built[kind] = build_library(
            where, SOURCE, name=f"lib{kind}.so", flags=[f"-Wl,--version-script={script}", *flags]
        )
    bare = where / "libno-sections.so"
    image = bytearray(built["gnu-hash"].read_bytes())
    image[40:48] = bytes(8)  # e_shoff
    image[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    bare.write_bytes(image)
    built["no-sections"] = bare
    return built


def installed() -> list[Path]:
    """Files of this machine that are known to be odd: libc, C++ names, a program, the dynamic linker."""
    output = subprocess.run(
        ["ldconfig", "-p"], capture_output=True, text=True, env={"PATH": "/sbin:/usr/sbin:/bin"}
    )
    found = dict(re.findall(r"^\t(\S+) .*x86-64.* => (\S+)$", output.stdout, re.MULTILINE)[::-1])
    names = ("libc.so.6", "libstdc++.so.6", "libz.so.1", "ld-linux-x86-64.so.2", "libm.so.6")
    return [Path(found[name]) for name in names if name in found] + [Path("/usr/bin/python3").resolve()]


def check_against_pyelftools(path: Path) -> None:
    image = path.read_bytes()
    elf = Elf(image, name=str(path))
    with path.open("rb") as file:
        other: Any = ELFFile(file)
        assert (elf.type, elf.machine, elf.entry) == (
            {"ET_DYN": c.ET_DYN, "ET_EXEC": c.ET_EXEC}[other["e_type"]],
            {"EM_X86_64": c.EM_X86_64, "EM_AARCH64": c.EM_AARCH64}[other["e_machine"]],
            other["e_entry"],
        )
        assert [
            (each.address, each.offset, each.file_size, each.memory_size, each.flags)
            for each in elf.segments
        ] == [
            (each["p_vaddr"], each["p_offset"], each["p_filesz"], each["p_memsz"], each["p_flags"])
            for each in other.iter_segments()
        ]
        assert [(each.name, each.offset, each.size, each.link, each.entsize) for each in elf.sections] == [
            (each.name, each["sh_offset"], each["sh_size"], each["sh_link"], each["sh_entsize"])
            for each in other.iter_sections()
        ]
        for name in (".dynsym", ".symtab"):
            table = other.get_section_by_name(name)
            if table is None:
                continue
            assert [
                (each.name, each.value, each.size, each.binding, each.type, each.visibility)
                for each in elf.symbols(name)
            ] == [
                (
                    each.name,
                    each["st_value"],
                    each["st_size"],
                    BINDINGS[each["st_info"]["bind"]],
                    TYPES[each["st_info"]["type"]],
                    VISIBILITIES[each["st_other"]["visibility"]],
                )
                for each in table.iter_symbols()
            ]
        dynamic = next(each for each in other.iter_segments() if each["p_type"] == "PT_DYNAMIC")
        tags = [each for each in dynamic.iter_tags() if each["d_tag"] != "DT_NULL"]
        assert [value for _, value in elf.dynamic()] == [each["d_val"] for each in tags]
        assert list(elf.needed) == [each.needed for each in tags if each["d_tag"] == "DT_NEEDED"]
        tables = dynamic.get_relocation_tables()
        expected = {
            (each["r_offset"], each["r_info_type"], each["r_info_sym"], each["r_addend"])
            for kind in ("RELA", "JMPREL")
            if kind in tables
            for each in tables[kind].iter_relocations()
        }
        assert {each[:4] for each in elf.relocations() if not each.packed} == expected
        packed = (
            {each["r_offset"] for each in tables["RELR"].iter_relocations()} if "RELR" in tables else set()
        )
        assert {each.offset for each in elf.relocations() if each.packed} == packed
        note = other.get_section_by_name(".note.gnu.build-id")
        if note is not None:
            assert elf.build_id().hex() == next(note.iter_notes())["n_desc"]


BINDINGS = {"STB_LOCAL": 0, "STB_GLOBAL": 1, "STB_WEAK": 2, "STB_LOOS": c.STB_GNU_UNIQUE}
TYPES = {
    name: getattr(c, name)
    for name in ("STT_NOTYPE", "STT_OBJECT", "STT_FUNC", "STT_SECTION", "STT_FILE", "STT_COMMON", "STT_TLS")
} | {"STT_LOOS": c.STT_GNU_IFUNC}
VISIBILITIES = {
    name: getattr(c, name) for name in ("STV_DEFAULT", "STV_INTERNAL", "STV_HIDDEN", "STV_PROTECTED")
}


@pytest.mark.parametrize("path", installed(), ids=lambda path: path.name)
def test_installed_files_read_as_pyelftools_reads_them(path: Path) -> None:
    check_against_pyelftools(path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "no-sections"])
def test_built_libraries_read_as_pyelftools_reads_them(libraries: Mapping[str, Path], kind: str) -> None:
    check_against_pyelftools(libraries[kind])


@pytest.mark.parametrize("path", installed(), ids=lambda path: path.name)
def test_symbol_versions_are_those_of_readelf(path: Path) -> None:
    """readelf shows NAME@@VERSION for a default, NAME@VERSION for another or a needed one."""
    output = subprocess.run(
        ["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, check=True
    )
    theirs = [line.split()[7:8] for line in output.stdout.splitlines() if re.match(r"\s+\d+: ", line)]
    ours = []
    for symbol in Elf(path.read_bytes()).symbols():
        name = symbol.name
        if symbol.version not in {"", name}:  # the symbol of a version itself has no suffix
            name += ("@" if symbol.version_hidden or symbol.version_file else "@@") + symbol.version
        ours.append([name] if name else [])
    assert ours == theirs


def test_needed_version_names_the_file_it_comes_from(libraries: Mapping[str, Path]) -> None:
    symbols = {symbol.name: symbol for symbol in Elf(libraries["plain"].read_bytes()).symbols()}
    assert symbols["malloc"].version == "GLIBC_2.2.5"
    assert symbols["malloc"].version_file == "libc.so.6"
    assert not symbols["malloc"].defined
    assert (symbols["copy"].version, symbols["copy"].version_hidden, symbols["copy"].version_file) == (
        "NEW",
        False,
        "",
    )
    assert symbols["more"].version == "OLD"


def test_without_section_headers_the_same_is_found(libraries: Mapping[str, Path]) -> None:
    whole, bare = (Elf(libraries[kind].read_bytes()) for kind in ("gnu-hash", "no-sections"))
    assert bare.sections == ()
    assert bare.build_id() == whole.build_id() != b""
    assert bare.symbols() == whole.symbols()
    assert bare.relocations() == whole.relocations()
    assert bare.symbols(".symtab") == ()


def test_build_id_from_sections_where_segments_have_none(libraries: Mapping[str, Path]) -> None:
    image = bytearray(libraries["plain"].read_bytes())
    elf = Elf(bytes(image))
    for index, segment in enumerate(elf.segments):
        if segment.type == c.PT_NOTE:
            struct.pack_into("<I", image, 64 + index * PROGRAM_HEADER.size, 0)
    assert Elf(bytes(image)).build_id() == elf.build_id() != b""


def test_packed_relocations_are_what_rela_says_of_the_same_source(libraries: Mapping[str, Path]) -> None:
    plain, packed = (Elf(libraries[kind].read_bytes()) for kind in ("plain", "packed"))
    relatives = [each for each in plain.relocations() if each.type == c.RELATIVE[c.EM_X86_64]]
    others = [each for each in packed.relocations() if each.packed]
    assert len(relatives) == len(others) > 0
    target = {name: elf.find("private_data") for name, elf in (("plain", plain), ("packed", packed))}
    for name, found in (("plain", relatives), ("packed", others)):
        symbol = target[name]
        assert symbol and symbol.value in {each.addend for each in found}


def test_mmap_reads_like_bytes(libraries: Mapping[str, Path]) -> None:
    path = libraries["plain"]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        elf = Elf(mapped)
        other = Elf(path.read_bytes())
        assert elf.symbols(".symtab") == other.symbols(".symtab")
        assert elf.build_id() == other.build_id()


def test_memory_behind_the_file_part_of_a_segment_is_zero(tmp_path: Path) -> None:
    path = build_library(tmp_path, "int in_bss[100]; int in_data = 9;")
    elf = Elf(path.read_bytes())
    bss, data = elf.find("in_bss"), elf.find("in_data")
    assert bss and data
    assert elf.read_address(bss.value, 400) == bytes(400)
    assert elf.read_address(data.value, 4) == b"\x09\0\0\0"
    with pytest.raises(BadDataError, match="not in the file"):
        elf.read(bss.value, 400)
    with pytest.raises(BadDataError, match="no loadable segment"):
        elf.read_address(1 << 40, 4)


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    path = build_library(tmp_path, "int name_to_change(void) { return 1; }")
    image = path.read_bytes().replace(b"name_to_change", b"name_\xff\xfe_change")
    symbol = Elf(image).find("name_\udcff\udcfe_change")
    assert symbol and symbol.name.encode("utf-8", "surrogateescape") == b"name_\xff\xfe_change"


def test_objects_without_segments_are_read(tmp_path: Path) -> None:
    path = build_library(tmp_path, "int f(void) { return 1; }", name="f.o", flags=["-c"])
    elf = Elf(path.read_bytes())
    assert (elf.type, elf.segments, elf.symbols()) == (c.ET_REL, (), ())
    assert "f" in {symbol.name for symbol in elf.symbols(".symtab")}


def synthetic(tags: Mapping[int, int], blob: bytes = b"", *, machine: int = c.EM_X86_64) -> bytes:
    """A shared object whose one segment maps the whole file at address 0; ``blob`` is at BLOB."""
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in [*tags.items(), (0, 0)])
    assert len(dynamic) <= BLOB - 0x100
    size = BLOB + len(blob)
    header = HEADER.pack(b"\x7fELF\x02\x01\x01", c.ET_DYN, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = PROGRAM_HEADER.pack(c.PT_LOAD, 7, 0, 0, 0, size, size, 0x1000)
    pointer = PROGRAM_HEADER.pack(c.PT_DYNAMIC, 6, 0x100, 0x100, 0x100, len(dynamic), len(dynamic), 8)
    return (header + load + pointer).ljust(0x100, b"\0") + dynamic.ljust(BLOB - 0x100, b"\0") + blob


BLOB = 0x400


def everything(data: bytes) -> None:
    """Ask for all there is; only BadDataError may come out."""
    try:
        elf = Elf(data)
    except BadDataError:
        return
    questions: list[Callable[[], object]] = [
        lambda: elf.segments,
        lambda: [elf.content(section) for section in elf.sections],
        elf.build_id,
        lambda: elf.needed,
        lambda: elf.soname,
        lambda: elf.symbols(".dynsym"),
        lambda: elf.symbols(".symtab"),
        elf.relocations,
        lambda: elf.find("main"),
        lambda: elf.read_address(0, 8),
    ]
    for question in questions:
        try:
            question()
        except BadDataError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        (slice(0, 4), b"\x7fELG", "not an ELF file"),
        (slice(4, 5), b"\x01", "not a 64-bit"),
        (slice(5, 6), b"\x02", "not a 64-bit little-endian"),
        (slice(6, 7), b"\x07", "version 1"),
        (slice(32, 40), b"\xff" * 8, "program header table reaches beyond"),
        (slice(54, 56), b"\x20\0", "program headers of 32"),
        (slice(56, 58), b"\xff\xff", "program header table reaches beyond"),
    ],
)
def test_bad_headers_are_named(where: slice, value: bytes, sentence: str) -> None:
    data = bytearray(synthetic({}))
    data[where] = value
    with pytest.raises(BadDataError, match=sentence):
        _ = Elf(bytes(data), name="some/file").segments


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (8, 1 << 40, "aligned|beyond"),
        (32, 1 << 62, "impossible sizes"),
        (40, (1 << 63) + 1, "impossible sizes"),
        (48, 3, "aligned"),
    ],
)
def test_bad_segments_are_named(field: int, value: int, sentence: str) -> None:
    data = bytearray(synthetic({}))
    struct.pack_into("<Q", data, 64 + field, value)
    with pytest.raises(BadDataError, match=sentence):
        _ = Elf(bytes(data)).segments


def test_overlapping_segments_are_refused() -> None:
    data = bytearray(synthetic({}))
    struct.pack_into("<I", data, 64 + 56, c.PT_LOAD)
    struct.pack_into("<QQ", data, 64 + 56 + 8, 0, 0)
    with pytest.raises(BadDataError, match="overlap"):
        _ = Elf(bytes(data)).segments


BOMBS = {
    "each byte of a long string is a name": (
        {
            c.DT_STRTAB: BLOB,
            c.DT_STRSZ: 1 << 20,
            c.DT_SYMTAB: BLOB + (1 << 20),
            c.DT_HASH: BLOB + (1 << 20) + 24 * 60000,
        },
        b"x" * ((1 << 20) - 1)
        + b"\0"
        + b"".join(struct.pack("<IBBHQQ", at, 0, 0, 0, 0, 0) for at in range(60000))
        + struct.pack("<II", 1, 60000),
    ),
    "a bitmap for every word": ({c.DT_RELR: BLOB, c.DT_RELRSZ: 8 << 17}, b"\xff" * (8 << 17)),
    "a chain of versions that never moves on": (
        {
            c.DT_STRTAB: BLOB,
            c.DT_STRSZ: 1,
            c.DT_SYMTAB: BLOB + 16,
            c.DT_VERNEED: BLOB,
            c.DT_VERNEEDNUM: 1 << 60,
        },
        b"\0" * 2 + b"\xff\xff" + b"\0" * 8 + b"\1\0\0\0" + bytes(1 << 18),
    ),
    "as many symbols as the field holds": (
        {c.DT_HASH: BLOB, c.DT_SYMTAB: BLOB, c.DT_STRTAB: BLOB, c.DT_STRSZ: 8},
        b"\xff" * 8,
    ),
    "a string table beyond the file": (
        {c.DT_SYMTAB: BLOB, c.DT_STRTAB: 1 << 62, c.DT_STRSZ: 1 << 62},
        bytes(64),
    ),
    "relocations beyond the file": ({c.DT_RELA: BLOB, c.DT_RELASZ: 24 << 50}, bytes(64)),
    "relocation tables that overlap": (
        {c.DT_RELA: BLOB, c.DT_RELASZ: 48, c.DT_JMPREL: BLOB + 24, c.DT_PLTRELSZ: 48},
        bytes(96),
    ),
    "relocations without addends": ({c.DT_REL: BLOB}, bytes(96)),
    "a hash chain without an end": (
        {c.DT_GNU_HASH: BLOB, c.DT_SYMTAB: BLOB, c.DT_STRTAB: BLOB, c.DT_STRSZ: 8},
        struct.pack("<IIIIQI", 1, 1, 1, 0, 0, 5) + bytes(1 << 16),
    ),
    "a filter of a hash table as large as the field": (
        {c.DT_GNU_HASH: BLOB, c.DT_SYMTAB: BLOB, c.DT_STRTAB: BLOB, c.DT_STRSZ: 8},
        struct.pack("<IIII", 0xFFFFFFFF, 1, 0xFFFFFFFF, 0) + bytes(64),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_an_error_soon(name: str) -> None:
    elf = Elf(synthetic(*BOMBS[name]))
    started = time.process_time()
    with pytest.raises(BadDataError):
        elf.symbols()
        elf.relocations()
    assert time.process_time() - started < 5


def test_dynamic_section_without_end_is_refused() -> None:
    data = bytearray(synthetic({c.DT_STRSZ: 1}))
    struct.pack_into("<Q", data, 64 + 56 + 32, 16)  # cuts DT_NULL off
    with pytest.raises(BadDataError, match="no end"):
        Elf(bytes(data)).dynamic()


def test_sections_and_segments_must_agree_on_the_symbols(libraries: Mapping[str, Path]) -> None:
    image = bytearray(libraries["plain"].read_bytes())
    index = next(at for at, section in enumerate(Elf(bytes(image)).sections) if section.type == c.SHT_DYNSYM)
    where = HEADER.unpack_from(image)[6] + 64 * index + 16
    struct.pack_into("<Q", image, where, 8)
    with pytest.raises(BadDataError, match="different symbol tables"):
        Elf(bytes(image)).symbols()


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    everything(data)
    everything(b"\x7fELF\x02\x01\x01" + data)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_libraries(libraries: Mapping[str, Path], data: st.DataObject) -> None:
    """Headers and dynamic sections are hit more often than code."""
    image = bytearray(libraries[data.draw(st.sampled_from(sorted(libraries)))].read_bytes())
    elf = Elf(bytes(image))
    dynamic = next(segment for segment in elf.segments if segment.type == c.PT_DYNAMIC)
    anywhere = st.integers(0, len(image) - 8)
    telling = st.one_of(
        st.integers(0, 64 + 56 * len(elf.segments)),
        st.integers(dynamic.offset, dynamic.offset + dynamic.file_size),
        st.integers(len(image) - 64 * max(1, len(elf.sections)), len(image) - 8),
        anywhere,
    )
    values = st.one_of(
        st.integers(0, 255).map(lambda byte: bytes((byte,))), st.binary(min_size=1, max_size=8)
    )
    for where, value in data.draw(st.lists(st.tuples(telling, values), min_size=1, max_size=6)):
        image[where : where + len(value)] = value
    started = time.process_time()
    everything(bytes(image))
    assert time.process_time() - started < 5


def test_truncated_at_every_offset(libraries: Mapping[str, Path]) -> None:
    image = libraries["stripped"].read_bytes()
    for size in range(0, len(image), 7):
        everything(image[:size])
