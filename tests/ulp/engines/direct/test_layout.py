# SPDX-License-Identifier: GPL-2.0-or-later
"""How containers lie in memory, and those that are refused for what they would need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.containers import build_container, build_library
from tests.support.images import loading
from ulp import elf_constants as c
from ulp.arch.x86_64 import PAGE
from ulp.container import Container, parse, read
from ulp.engines.direct import layout
from ulp.engines.direct.layout import Protection, Shape
from ulp.process import Process
from ulp.result import Reason, Refusal

PLAIN = """
const int constants[3] = {1, 2, 3};
const int *const sealed = &constants[1];
int data = 5;
int zeros[3000];
int new(void) { return data + zeros[7] + *sealed; }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layout")


@pytest.fixture(scope="module")
def library(place: Path) -> Path:
    return build_library(place, "int old(void) { return 1; }", name="libold.so")


def container(place: Path, library: Path, source: str, *flags: str) -> Container:
    number = len(list(place.glob("*.dsc")))
    return read(
        build_container(
            place, source, target=library, functions={"old": "new"}, name=f"c{number}.so", flags=flags
        )
    )


def check(shape: Shape, file: bytes) -> None:
    """What holds for every layout."""
    end = shape.start
    for area in shape.areas:
        assert area.address % PAGE == 0 and area.size % PAGE == 0 and area.size
        assert area.address >= end, "areas do not overlap"
        assert area.protection & Protection.READ
        assert not (area.protection & Protection.WRITE and area.protection & Protection.EXECUTE)
        assert not (area.protection & Protection.WRITE and not area.anonymous), "the memfd is constant"
        end = area.address + area.size
    assert (shape.start, shape.end) == (shape.areas[0].address, end)
    assert shape.file_start == min(area.address for area in shape.areas if not area.anonymous)
    # all that the program headers load is there, except for what only a dynamic linker reads
    covered = dict(shape.contents)
    for load in shape.elf.loads:
        if load.flags & (c.PF_W | c.PF_X):
            for address in (load.address, load.address + load.file_size - 1):
                assert any(at <= address < at + len(data) for at, data in covered.items())
            assert shape.area_at(load.address, load.memory_size) is not None or load.flags & c.PF_W
    for address, data in covered.items():
        assert shape.elf.read_address(address, len(data)) == data
        assert shape.area_at(address, len(data)) is not None


@pytest.mark.parametrize(
    "flags",
    [(), ("-Wl,-z,norelro",), ("-Wl,-z,noseparate-code",), ("-Wl,-z,now",), ("-fno-asynchronous-unwind-tables",),
     ("-Wl,-z,max-page-size=65536",)],
    ids=str,
)  # fmt: skip
def test_areas(place: Path, library: Path, flags: tuple[str, ...]) -> None:
    found = container(place, library, PLAIN, *flags)
    shape = layout.shape(found)
    check(shape, found.image)
    kinds = {area.protection for area in shape.areas}
    assert Protection.READ | Protection.EXECUTE in kinds and Protection.READ | Protection.WRITE in kinds
    for name, protection in {"new": 5, "data": 3, "zeros": 3, "constants": None, "sealed": None}.items():
        symbol = shape.elf.find(name)
        assert symbol is not None
        area = shape.area_at(symbol.value, symbol.size)
        assert area is not None, name
        if protection is not None:
            assert area.protection == protection, name
    sealed = shape.elf.find("sealed")
    assert sealed is not None
    area = shape.area_at(sealed.value, 8)
    assert area is not None and bool(area.protection & Protection.WRITE) == ("norelro" in str(flags))


def test_protections_are_those_that_the_dynamic_linker_would_give(place: Path, library: Path) -> None:
    found = container(place, library, PLAIN)
    shape = layout.shape(found)
    with loading(Path(found.path)) as pid, Process(pid, images={}) as process:
        (item,) = [item for item in process.linked_objects() if item.path == found.path]
        for area in shape.areas:
            address = item.bias + area.address
            (mapping,) = [m for m in process.mappings if m.start <= address < m.end]
            letters = "".join(
                letter if area.protection & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))
            )
            assert mapping.permissions == letters + "p"


def test_a_container_without_constants_and_data_is_one_area(place: Path, library: Path) -> None:
    flags = ("-nostdlib", "-fno-asynchronous-unwind-tables", "-Wl,-z,norelro,--no-ld-generated-unwind-info")
    shape = layout.shape(container(place, library, "int new(void) { return 2; }", *flags))
    assert [area.protection for area in shape.areas if not area.anonymous] == [5], (
        "tables for ld.so are left out"
    )


def test_where_nothing_is(place: Path, library: Path) -> None:
    shape = layout.shape(container(place, library, PLAIN))
    assert shape.area_at(shape.end, 1) is None
    assert shape.area_at(shape.end - 4, 8) is None
    assert shape.area_at(-8, 8) is None
    assert shape.area_at(1 << 70, 1) is None


REFUSED = {
    "thread-local": "__thread int own; int new(void) { return own; }",
    "constructor": "static volatile int x; __attribute__((constructor)) static void f(void) { x = 1; }",
    "destructor": "static volatile int x; __attribute__((destructor)) static void f(void) { x = 1; }",
    "IFUNC": 'static int f(void) { return 1; } void *r(void) { return f; } int g() __attribute__((ifunc("r")));',
    "C++ exceptions": "void _Unwind_Resume(void *); void f(void) { _Unwind_Resume(0); }",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_named(place: Path, library: Path, what: str) -> None:
    flags = ("-Wl,--unresolved-symbols=ignore-all",) if what == "C++ exceptions" else ()
    extra = "" if "new(" in REFUSED[what] else " int new(void) { return 2; }"
    with pytest.raises(Refusal, match=what.replace("+", r"\+")) as refusal:
        layout.shape(container(place, library, REFUSED[what] + extra, *flags))
    assert refusal.value.reason is Reason.UNSUPPORTED_CONTAINER


@pytest.mark.parametrize(
    "flags", [(), ("-O0",), ("-fcf-protection=full",), ("-nostartfiles",), ("-static-libgcc",)], ids=str
)
def test_what_every_toolchain_puts_in_is_not_refused(
    place: Path, library: Path, flags: tuple[str, ...]
) -> None:
    assert layout.shape(container(place, library, "int new(void) { return 2; }", *flags)).areas


def test_a_segment_that_is_writable_and_executable(place: Path, library: Path) -> None:
    found = container(place, library, PLAIN)
    image = bytearray(found.image)
    for index in range(int.from_bytes(image[56:58], "little")):
        at = 64 + 56 * index
        if image[at : at + 8] == b"\x01\0\0\0\x05\0\0\0":
            image[at + 4] = 7
    with pytest.raises(Refusal, match="writable and executable"):
        layout.shape(parse(bytes(image)))


def test_another_architecture(place: Path, library: Path) -> None:
    image = bytearray(container(place, library, PLAIN).image)
    image[18] = c.EM_AARCH64
    with pytest.raises(Refusal) as refusal:
        layout.shape(parse(bytes(image)))
    assert refusal.value.reason is Reason.OTHER_ARCHITECTURE


def test_a_container_without_code(place: Path, library: Path) -> None:
    image = bytearray(container(place, library, PLAIN).image)
    for index in range(int.from_bytes(image[56:58], "little")):
        at = 64 + 56 * index
        if image[at] == 1:
            image[at + 4] = c.PF_R | c.PF_W
    with pytest.raises(Refusal, match="no code"):
        layout.shape(parse(bytes(image)))
