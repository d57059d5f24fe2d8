# SPDX-License-Identifier: GPL-2.0-or-later
"""Where functions begin and end, against what readelf and pyelftools read in the files."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.containers import build_library
from tests.support.images import mapped
from tests.support.memory import FakeMemory
from tests.support.targets import compiled
from ulp import elf_constants as c
from ulp.image import PAGE, Image, image_at
from ulp.memory import NotAnImage
from ulp.process import Process

BIAS = 0x7F00_0000_0000


def check(image: Image, extents: list[tuple[int, int]]) -> None:
    for start, end in extents:
        for address in {start, (start + end) // 2, end - 1}:
            assert image.unwind.function_at(address) == (start, end - start), hex(address)
    starts = {start for start, _ in extents}
    for _, end in extents:
        found = image.unwind.function_at(end)
        assert found is None if end not in starts else found is not None and found[0] == end


def by_readelf(path: Path) -> list[tuple[int, int]]:
    # it ends with 1 where there is no debug information besides
    text = subprocess.run(["readelf", "-wf", path], capture_output=True, text=True).stdout
    found = re.findall(r" FDE .* pc=([0-9a-f]+)\.\.([0-9a-f]+)", text)
    return sorted({(int(start, 16), int(end, 16)) for start, end in found if start != end})


def by_pyelftools(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        entries = elf.get_dwarf_info().EH_CFI_entries()
        found = [entry.header for entry in entries if isinstance(entry, FDE)]
        return sorted((e["initial_location"], e["initial_location"] + e["address_range"]) for e in found)


@pytest.mark.parametrize("soname", ["libc.so.6", "ld-linux-x86-64.so.2", "libm.so.6"])
def test_every_function_of_a_library_of_this_process(soname: str) -> None:
    with Process(os.getpid(), images={}) as process:
        (item,) = [item for item in process.linked_objects() if item.image.soname == soname]
        extents = by_readelf(Path(item.path))
        assert len(extents) > 100
        check(item.image, extents)


SOURCES = {
    "gcc": "\nint f(int x) { return x + 1; } static __attribute__((noinline)) int g(int x) { return f(x) * 3; }"
    " int h(int x) { return g(x) + g(x + 2); } __attribute__((cold, noinline)) int i(void) { return 3; }",
    "g++": '\nextern "C" void thrower(int x) { if (x) throw x; }'
    ' extern "C" int catcher(int x) { try { thrower(x); } catch (int y) { return y; } return 0; }',
}


@pytest.mark.parametrize(
    "flags", [(), ("-s",), ("-Wl,-z,noseparate-code",), ("-ffunction-sections",), ("-O0",)], ids=str
)
@pytest.mark.parametrize("language", SOURCES)
def test_libraries_of_every_kind(language: str, flags: tuple[str, ...]) -> None:
    path = compiled(SOURCES[language], "-fPIC", "-shared", *flags, compiler=language)
    extents = by_pyelftools(path)
    assert len(extents) >= 4
    check(image_at(mapped(path.read_bytes(), BIAS), BIAS, {}), extents)


def test_private_functions_of_a_stripped_library_are_known(tmp_path: Path) -> None:
    whole = build_library(tmp_path, SOURCES["gcc"], name="libwhole.so")
    with whole.open("rb") as file:
        elf: Any = ELFFile(file)
        (private,) = elf.get_section_by_name(".symtab").get_symbol_by_name("g")
    stripped = build_library(tmp_path, SOURCES["gcc"], name="libstripped.so", flags=["-s"])
    image = image_at(mapped(stripped.read_bytes(), BIAS), BIAS, {})
    assert image.unwind.function_at(private["st_value"] + 1) == (private["st_value"], private["st_size"])


def test_a_library_without_tables(tmp_path: Path) -> None:
    path = build_library(
        tmp_path, "int f(void) { return 1; }",
        flags=["-fno-asynchronous-unwind-tables", "-nostdlib", "-Wl,--no-eh-frame-hdr"],
    )  # fmt: skip
    image = image_at(mapped(path.read_bytes(), BIAS), BIAS, {})
    symbol = image.symbols.find("f")
    assert symbol is not None and image.unwind.function_at(symbol.value) is None


# Tables that are damaged

HEADER_AT, FRAMES_AT = 1024, 2048


def with_tables(header: bytes, frames: bytes) -> Image:
    """An image whose unwind tables are these bytes."""
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    start += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    start += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 1 << 20, 1 << 20, PAGE)
    start += struct.pack("<IIQQQQQQ", c.PT_GNU_EH_FRAME, 4, 0, HEADER_AT, 0, len(header), len(header), 4)
    page = (start.ljust(HEADER_AT, b"\0") + header).ljust(FRAMES_AT, b"\0") + frames
    return image_at(FakeMemory({BIAS: page.ljust(16 * PAGE, b"\0")}), BIAS, {})


def one_function(
    augmentation: bytes = b"zR\0", data: bytes = b"\x01\x1b", *, skip: bytes = b"\x01\x78\x10"
) -> Image:
    """Tables of one function at 0x3000, 16 bytes, whose common entry holds this augmentation."""
    entry = struct.pack("<iB", 0, 1) + augmentation + skip + data
    entry = struct.pack("<I", len(entry)) + entry
    at = FRAMES_AT + len(entry)
    description = struct.pack("<IiiI", 20, at + 4 - FRAMES_AT, 0x3000 - (at + 8), 16) + bytes(8)
    header = struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, 0, 1) + struct.pack(
        "<ii", 0x3000 - HEADER_AT, at - HEADER_AT
    )
    return with_tables(header, entry + description)


@pytest.mark.parametrize(
    ("augmentation", "data"),
    [(b"zR\0", b"\x01\x1b"), (b"zPLR\0", b"\x07\x9b\1\2\3\4\x1b\x1b"), (b"zLR\0", b"\x02\x1b\x1b"),
     (b"zRS\0", b"\x01\x1b"), (b"zPR\0", b"\x0a\x00\1\2\3\4\5\6\7\x08\x1b"), (b"zSR\0", b"\x01\x1b")],
)  # fmt: skip
def test_every_kind_of_a_common_entry(augmentation: bytes, data: bytes) -> None:
    image = one_function(augmentation, data)
    assert image.unwind.function_at(0x3008) == (0x3000, 16)
    assert image.unwind.function_at(0x3010) is None and image.unwind.function_at(0x2FFF) is None


@pytest.mark.parametrize(
    ("augmentation", "data"),
    [(b"\0", b""), (b"zX\0", b"\x01\x1b"), (b"zR\0", b"\x01\x00"), (b"zR\0", b"\x01\x3b"), (b"eh\0", bytes(10)),
     (b"z" * 30, b""), (b"zR\0", b"\x80" * 40), (b"zP" * 20, b"\xff" * 40)],
)  # fmt: skip
def test_what_is_not_understood_is_not_guessed(augmentation: bytes, data: bytes) -> None:
    assert one_function(augmentation, data).unwind.function_at(0x3008) is None


def test_numbers_of_many_bytes() -> None:
    image = one_function(skip=b"\x81\x80\x00\xff\xff\x7f\x90\x00")
    assert image.unwind.function_at(0x3008) == (0x3000, 16)


@pytest.mark.parametrize("count", [2, 1000, 0xFFFFFFFF])
def test_a_count_of_more_than_there_is(count: int) -> None:
    image = with_tables(struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, 0, count) + bytes(8), b"")
    assert image.unwind.function_at(0x3000) is None


@settings(max_examples=400)
@given(st.binary(max_size=80), st.binary(max_size=120), st.integers(-(1 << 40), 1 << 70))
@example(
    struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, 0, 1) + struct.pack("<ii", 0, 1024),
    b"\x14\0\0\0\x04\0\0\0",
    1024,
)
def test_any_tables(header: bytes, frames: bytes, address: int) -> None:
    begin = time.process_time()
    image = with_tables(b"\x01\x1b\x03\x3b" + header, frames)
    for at in (address, 0, HEADER_AT, 0x3000):
        try:
            found = image.unwind.function_at(at)
        except NotAnImage:
            continue
        assert found is None or found[0] <= at < found[0] + found[1]
    assert time.process_time() - begin < 1
