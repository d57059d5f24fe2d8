# SPDX-License-Identifier: GPL-2.0-or-later
"""Images in memory: of this very process, of libraries linked in every way, and of bytes that are damaged."""

from __future__ import annotations

import functools
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.containers import build_library
from tests.support.images import loading, mapped
from tests.support.memory import FakeMemory
from ulp import elf_constants as c
from ulp.elf import Elf
from ulp.image import PAGE, Image, image_at
from ulp.memory import Memory, NotAnImage, Unreadable
from ulp.process import Process

SOURCE = """
#include <stdlib.h>
#include <string.h>
static int private_data[3] = {1, 2, 3};
int *exported_pointer = private_data;
__thread int per_thread = 4;
int first(void) { return 5; }
__attribute__((weak)) int weak(void) { return 6; }
static void target(void) {}
static void (*resolve(void))(void) { return target; }
void chosen(void) __attribute__((ifunc("resolve")));
char *copy(const char *text) { char *to = malloc(strlen(text) + 1); return to ? strcpy(to, text) : 0; }
"""
KINDS: dict[str, tuple[str, ...]] = {
    "both": (),
    "stripped": ("-s",),
    "sysv": ("-Wl,--hash-style=sysv",),
    "gnu": ("-Wl,--hash-style=gnu",),
    "one-segment": ("-Wl,-z,noseparate-code",),
    "packed": ("-Wl,-z,pack-relative-relocs",),
    "no-build-id": ("-Wl,--build-id=none",),
    "sixteen-bytes": ("-Wl,--build-id=md5",),
    "high": ("-Wl,-Ttext-segment=0x10000000",),
    "far-notes": ("-Wl,--section-start=.note.gnu.build-id=0x40000",),
}
BIAS = 0x7F00_0000_0000


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("libraries")
    return {
        kind: build_library(where, SOURCE, name=f"lib{kind}.so.1", flags=flags)
        for kind, flags in KINDS.items()
    }


def check_against_file(image: Image, path: Path) -> None:
    elf = Elf(path.read_bytes())
    assert image.build_id == elf.build_id()
    assert image.soname == elf.soname
    assert image.needed == elf.needed
    assert (image.type, image.machine, image.entry) == (elf.type, elf.machine, elf.entry)
    with path.open("rb") as file:
        other: Any = ELFFile(file)
        assert [(s.type, s.flags, s.address, s.file_size, s.memory_size) for s in image.segments] == [
            (struct.unpack_from("<I", path.read_bytes(), other["e_phoff"] + 56 * index)[0], s["p_flags"], s["p_vaddr"],
             s["p_filesz"], s["p_memsz"])
            for index, s in enumerate(other.iter_segments())
        ]  # fmt: skip
        dynamic = other.get_section_by_name(".dynamic")
        tags = [(tag.entry.d_tag, tag.entry.d_val) for tag in dynamic.iter_tags()]
        assert len(image.dynamic) == len(tags) - 1, "all but the last one, DT_NULL"
        for (number, value), (_, expected) in zip(image.dynamic, tags, strict=False):
            if number not in {
                c.DT_PLTGOT,
                c.DT_RELR,
                c.DT_DEBUG,
            }:  # what glibc changes and nobody here needs
                assert value == expected, hex(number)
    assert image.start == elf.loads[0].address & -PAGE and image.end == elf.loads[-1].end
    for load in elf.loads:
        if not load.flags & c.PF_W:
            assert image.read(load.address, load.file_size) == elf.read_address(load.address, load.file_size)


@pytest.mark.parametrize("kind", KINDS)
def test_libraries_of_every_kind_in_a_process(libraries: dict[str, Path], kind: str) -> None:
    path = libraries[kind]
    with loading(path) as pid, Process(pid, images={}) as process:
        (found,) = [item for item in process.linked_objects() if item.path == str(path)]
        assert found.image.build_id == Elf(path.read_bytes()).build_id()
        assert bool(found.image.build_id) == (kind != "no-build-id")
        check_against_file(found.image, path)
        assert [segment.type for segment in found.image.loads] == [c.PT_LOAD] * len(found.image.loads)


@pytest.mark.parametrize("kind", KINDS)
def test_unrelocated_images_as_musl_leaves_them(libraries: dict[str, Path], kind: str) -> None:
    path = libraries[kind]
    memory = mapped(path.read_bytes(), BIAS)
    image = image_at(memory, BIAS + Elf(path.read_bytes()).loads[0].address, {})
    check_against_file(image, path)


def test_every_object_of_this_process() -> None:
    count = 0
    with Process(os.getpid(), images={}) as process:
        for item in process.linked_objects():
            path = Path(item.path)
            if path.is_file():
                check_against_file(item.image, path)
                count += 1
    assert count > 5


def test_the_vdso() -> None:
    with Process(os.getpid(), images={}) as process:
        image = image_at(process.memory, process.vdso(), {})
        assert image.soname == "linux-vdso.so.1" and image.build_id
        assert image.symbols.find("__vdso_clock_gettime") is not None


def test_slots_of_chosen_variants(libraries: dict[str, Path]) -> None:
    with loading(libraries["both"]) as pid, Process(pid, images={}) as process:
        (found,) = [item for item in process.linked_objects() if item.path == str(libraries["both"])]
        symbol = found.image.symbols.find("chosen")
        assert symbol is not None and symbol.type == c.STT_GNU_IFUNC
        # the linker lets the exported symbol be looked up by name, so a slot by resolver need not exist
        for resolver, slot in found.image.irelative_slots.items():
            assert found.image.start <= resolver < found.image.end
            assert found.image.start <= slot < found.image.end
        libc = next(item for item in process.linked_objects() if item.image.soname == "libc.so.6")
        slots = libc.image.irelative_slots
        assert len(slots) > 20
        values = [process.memory.word(libc.bias + slot) for slot in slots.values()]
        code = [
            any(m.start <= value < m.end and "x" in m.permissions for m in process.mappings)
            for value in values
        ]
        # a resolver may choose nothing at all
        assert code == [value != 0 for value in values] and sum(code) > 20


def test_images_are_shared_between_processes_of_a_build(libraries: dict[str, Path]) -> None:
    images: dict[bytes, Image] = {}
    with loading(libraries["both"]) as first, Process(first, images=images) as one:
        here = {item.path: (item.image, item.bias) for item in one.linked_objects()}
    with loading(libraries["both"]) as second, Process(second, images=images) as other:
        for item in other.linked_objects():
            if item.path in here and item.image.build_id:
                image, _ = here[item.path]
                assert item.image is image
        (library,) = [item for item in other.linked_objects() if item.path == str(libraries["both"])]
        assert library.image.symbols.find("first") is not None


def test_without_a_build_id_nothing_is_shared(libraries: dict[str, Path]) -> None:
    cache: dict[bytes, Image] = {}
    memory = mapped(libraries["no-build-id"].read_bytes(), BIAS)
    assert image_at(memory, BIAS, cache) is not image_at(memory, BIAS, cache) and not cache


# What is no image, and what is a damaged one


@pytest.mark.parametrize(
    "page",
    [b"", b"\x7fELF", b"\x7fELF" + bytes(60), bytes(PAGE), b"#!/bin/sh\n" + bytes(PAGE),
     b"\x7fELF\x01\x01\x01" + bytes(PAGE), b"\x7fELF\x02\x02\x01" + bytes(PAGE), b"\x7fELF\x02\x01\x01" + bytes(PAGE)],
    ids=repr,
)  # fmt: skip
def test_what_is_no_image(page: bytes) -> None:
    with pytest.raises(NotAnImage):
        Image(page)


def test_nothing_there() -> None:
    with pytest.raises(Unreadable):
        image_at(FakeMemory({}), BIAS, {})
    with Memory(os.getpid()) as memory, pytest.raises(Unreadable):
        image_at(memory, 0, {})


@functools.cache
def original() -> bytes:
    from tests.support.targets import compiled

    return compiled(
        SOURCE, "-fPIC", "-shared", "-Wl,-soname,libx.so.1,--hash-style=both,--build-id"
    ).read_bytes()


NAMES = ("first", "weak", "chosen", "copy", "exported_pointer", "per_thread", "absent", "", "malloc")


def look_at_everything(image: Image) -> None:
    """Ask an image all that can be asked; only NotAnImage may come of it."""
    questions: list[Callable[[], object]] = [
        lambda: image.build_id,
        lambda: image.dynamic,
        lambda: image.soname,
        lambda: image.needed,
        lambda: image.irelative_slots,
        *(lambda name=name: image.symbols.find(name) for name in NAMES),
        *(lambda name=name: image.symbols.find(name, "V1") for name in NAMES),
        *(
            lambda at=at: image.unwind.function_at(at)
            for at in (0, 0x1000, 0x1100, 0x1180, 0x1200, 1 << 70, -5)
        ),
        lambda: image.read(0, 100),
        lambda: image.text(1 << 40),
    ]
    for question in questions:
        try:
            question()
        except NotAnImage:
            continue


def interesting(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of what decides about reading: headers, dynamic section, hash tables, versions, unwind tables."""
    elf = Elf(data)
    wanted = (".dynamic", ".hash", ".gnu.hash", ".dynsym", ".dynstr", ".gnu.version", ".eh_frame_hdr", ".eh_frame",
              ".note.gnu.build-id", ".rela.dyn", ".rela.plt")  # fmt: skip
    found = [
        (section.offset, section.size) for section in elf.sections if section.name in wanted and section.size
    ]
    return [(0, 64), (64, 56 * len(elf.segments)), *found]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_images_are_not_images(data: st.DataObject) -> None:
    image_bytes = bytearray(original())
    memory = mapped(bytes(image_bytes), BIAS)
    for _ in range(data.draw(st.integers(1, 6))):
        offset, size = data.draw(st.sampled_from(interesting(bytes(image_bytes))))
        at = offset + data.draw(st.integers(0, size - 1))
        load = next(
            (each for each in Elf(original()).loads if each.offset <= at < each.offset + each.file_size),
            None,
        )
        if load is not None:
            value = data.draw(
                st.sampled_from([b"\0", b"\xff", b"\x80", b"\xff" * 4, b"\xff" * 8, b"\x01", b"\x41"])
            )
            address = BIAS + load.address + at - load.offset
            memory.write(address, value[: len(memory.read_some(address, len(value)))])
    begin = time.process_time()
    try:
        image = image_at(memory, BIAS, {})
    except NotAnImage:
        return
    look_at_everything(image)
    assert time.process_time() - begin < 5


@settings(max_examples=200)
@given(st.binary(max_size=400), st.binary(max_size=200))
@example(b"", b"")
def test_any_bytes(header: bytes, rest: bytes) -> None:
    page = (b"\x7fELF\x02\x01\x01" + header).ljust(PAGE, b"\0") + rest
    try:
        image = image_at(FakeMemory({BIAS: page}), BIAS, {})
    except NotAnImage:
        return
    look_at_everything(image)


def with_dynamic(tags: dict[int, int], extra: bytes = b"") -> Image:
    """An image of one segment whose dynamic section holds these tags."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    table = b"".join(struct.pack("<QQ", tag, value) for tag, value in tags.items()) + bytes(16)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 1 << 20, 1 << 20, PAGE)
    header += struct.pack("<IIQQQQQQ", 2, 4, 0, 1024, 0, len(table), len(table), 8)
    page = (header.ljust(1024, b"\0") + table).ljust(2048, b"\0") + extra
    return image_at(FakeMemory({BIAS: page.ljust(16 * PAGE, b"\0")}), BIAS, {})


@pytest.mark.parametrize("chains", [1, 5, 0xFFFFFFFF])
def test_a_chain_that_runs_in_a_circle(chains: int) -> None:
    """Of the older hash table: one bucket that leads to symbol 1, which is followed by itself."""
    table = struct.pack("<IIIII", 1, chains, 1, 0, 1)
    image = with_dynamic({c.DT_HASH: 2048, c.DT_SYMTAB: 3072, c.DT_STRTAB: 3000, c.DT_STRSZ: 10}, table)
    begin = time.process_time()
    with pytest.raises(NotAnImage):
        image.symbols.find("x")
    assert time.process_time() - begin < 2


def test_a_chain_without_an_end() -> None:
    """Of the GNU hash table: everything behind it reads as zero, and nothing says that the chain is over."""
    table = struct.pack("<IIIIQI", 1, 1, 1, 0, (1 << 64) - 1, 1)
    image = with_dynamic({c.DT_GNU_HASH: 2048, c.DT_SYMTAB: 3072, c.DT_STRTAB: 3000, c.DT_STRSZ: 10}, table)
    begin = time.process_time()
    with pytest.raises(NotAnImage):
        image.symbols.find("x")
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 1], ids=hex)
def test_tables_that_claim_to_be_huge(size: int) -> None:
    image = with_dynamic(
        {c.DT_RELA: 2048, c.DT_RELASZ: size, c.DT_STRTAB: 1 << 63, c.DT_STRSZ: size, c.DT_SONAME: 1}
    )
    begin = time.process_time()
    look_at_everything(image)
    assert time.process_time() - begin < 2
