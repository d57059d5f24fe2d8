# SPDX-License-Identifier: GPL-2.0-or-later
"""Relocation of a container, type by type, against the addresses that the process itself uses."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.containers import build_container, build_library
from tests.support.images import loading
from ulp.arch.x86_64 import Relocation
from ulp.container import Container, Unit, parse, read
from ulp.engines.direct import layout
from ulp.engines.direct.layout import Shape
from ulp.engines.direct.link import Linker, new_functions, relocated
from ulp.engines.direct.symbols import Symbols
from ulp.process import Object, Process, scope
from ulp.result import Reason, Refusal

MASK = (1 << 64) - 1
LIBRARY = """
int old(void) { return 1; }
int exported[4] = {1, 2, 3, 4};
static int hidden[2] = {5, 6};
__thread int per_thread[2] = {7, 8};
int *use(void) { return hidden + per_thread[0]; }
"""
PATCH = """
extern int exported[4];
extern int nowhere __attribute__((weak));
extern __thread int per_thread[2];
int new(void) { return per_thread[1]; }
int *outside = &exported[2];                   /* ABSOLUTE_64 with an addend of 8 */
int *weak_one = &nowhere;
static int own_data[3] = {1, 2, 3};
int *inside = &own_data[1];                    /* RELATIVE */
int zeros[3000];
int *reference;                                /* to hidden */
struct { unsigned long module, offset; } index;
void *here = &here;                            /* ABSOLUTE_64 or RELATIVE to itself */
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("link")


@pytest.fixture(scope="module")
def library(place: Path) -> Path:
    return build_library(place, LIBRARY, name="libold.so")


@pytest.fixture(scope="module")
def container(place: Path, library: Path) -> Container:
    return read(
        build_container(
            place, PATCH, target=library, functions={"old": "new"}, flags=[str(library)],
            references=["hidden:reference", "%per_thread:index"],
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def process(library: Path) -> Iterator[Process]:
    with loading(library) as pid, Process(pid, images={}) as found:
        yield found


@dataclasses.dataclass
class Link:
    """A container, the process that it is relocated for, and where it shall be."""

    container: Container
    process: Process
    target: Object
    bias: int

    @property
    def shape(self) -> Shape:
        return layout.shape(self.container)

    def linker(self) -> Linker:
        linked = self.process.linked_objects()
        order = scope(linked, self.target, self.shape.elf.needed)
        return Linker(
            self.container,
            self.shape,
            target=self.target,
            symbols=Symbols(self.process, order),
            bias=self.bias,
        )

    def patches(self) -> dict[int, bytes]:
        return dict(self.linker().patches())

    def own(self, name: str) -> int:
        symbol = self.shape.elf.find(name)
        assert symbol is not None
        return symbol.value

    def word(self, name: str) -> int:
        return int.from_bytes(self.patches()[self.own(name)], "little")

    def address(self, name: str) -> int:
        symbol = self.target.image.symbols.find(name)
        assert symbol is not None
        return self.target.bias + symbol.value


@pytest.fixture
def link(container: Container, process: Process, library: Path) -> Link:
    (target,) = [item for item in process.linked_objects() if item.path == str(library)]
    return Link(container, process, target, target.bias - 0x100_0000)


def local(path: Path, name: str) -> int:
    """The value of a symbol that only .symtab has."""
    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name(name)
        return int(symbol["st_value"])


def refusal(link: Link) -> Refusal:
    with pytest.raises(Refusal) as found:
        link.patches()
    return found.value


def changed(
    link: Link, name: str, *, type_: int | None = None, symbol: int | None = None, offset: int | None = None
) -> Link:
    """The container with the relocation of one variable changed."""
    image = bytearray(link.container.image)
    where = link.own(name)
    with Path(link.container.path).open("rb") as file:
        elf: Any = ELFFile(file)
        section = elf.get_section_by_name(".rela.dyn")
        (index,) = [i for i, r in enumerate(section.iter_relocations()) if r["r_offset"] == where]
        at = section["sh_offset"] + 24 * index
    old_offset, info = struct.unpack_from("<QQ", image, at)
    kind = info & 0xFFFFFFFF if type_ is None else type_
    number = info >> 32 if symbol is None else symbol
    struct.pack_into("<QQ", image, at, old_offset if offset is None else offset, number << 32 | kind)
    return dataclasses.replace(link, container=parse(bytes(image), path=link.container.path))


def test_the_container_has_what_is_tested(link: Link) -> None:
    kinds = {Relocation(relocation.type) for relocation in link.shape.elf.relocations()}
    assert {Relocation.ABSOLUTE_64, Relocation.RELATIVE, Relocation.GLOB_DAT} <= kinds
    assert kinds & {Relocation.DTPMOD64, Relocation.TPOFF64}


def test_each_kind_as_the_linker_made_it(link: Link) -> None:
    assert link.word("outside") == link.address("exported") + 8
    assert link.word("weak_one") == 0
    assert link.word("inside") == link.bias + local(Path(link.container.path), "own_data") + 4
    assert link.word("here") == link.bias + link.own("here")


@pytest.mark.parametrize("kind", [Relocation.GLOB_DAT, Relocation.JUMP_SLOT])
def test_slots_take_no_addend(link: Link, kind: int) -> None:
    assert changed(link, "outside", type_=kind).word("outside") == link.address("exported")


def test_distances(link: Link) -> None:
    distance = link.address("exported") + 8 - (link.bias + link.own("outside"))
    for kind in (Relocation.PC32, Relocation.PLT32):
        (data,) = [changed(link, "outside", type_=kind).patches()[link.own("outside")]]
        assert data == struct.pack("<i", distance)
    assert changed(link, "outside", type_=Relocation.PC64).word("outside") == distance & MASK


@pytest.mark.parametrize("away", [1 << 31, -(1 << 31) - 1, 1 << 40])
def test_distances_that_are_too_far(link: Link, away: int) -> None:
    exact = link.address("exported") + 8 - link.own("outside")
    far = dataclasses.replace(changed(link, "outside", type_=Relocation.PC32), bias=exact - away)
    assert refusal(far).reason is Reason.NO_ROOM
    near = dataclasses.replace(far, bias=exact - max(min(away, (1 << 31) - 1), -(1 << 31)))
    assert len(near.patches()[link.own("outside")]) == 4


def test_a_relocation_without_a_symbol_is_relative_to_the_container(link: Link) -> None:
    assert changed(link, "outside", symbol=0).word("outside") == link.bias + 8
    assert link.own("outside") not in changed(link, "outside", type_=Relocation.NONE).patches()


def test_thread_local_storage(link: Link) -> None:
    symbol = link.target.image.symbols.find("per_thread")
    linked = link.process.linked_objects()
    symbols = Symbols(link.process, scope(linked, link.target, ()))
    assert symbol is not None
    # the reference of the description: a tls_index
    assert link.patches()[link.own("index")] == struct.pack(
        "<QQ", symbols.tls_module(link.target), symbol.value
    )
    number = next(
        i
        for i, item in enumerate(link.shape.elf.symbols(".dynsym"))
        if item.name == "per_thread" and not item.defined
    )
    module = changed(link, "outside", type_=Relocation.DTPMOD64, symbol=number)
    assert module.word("outside") == symbols.tls_module(link.target) > 1
    offset = changed(link, "outside", type_=Relocation.DTPOFF64, symbol=number)
    assert offset.word("outside") == symbol.value + 8
    fixed = changed(link, "outside", type_=Relocation.TPOFF64, symbol=number)
    try:
        static = symbols.tls_static_offset(link.target)
    except Refusal:
        assert "not static" in str(refusal(fixed))
    else:
        assert fixed.word("outside") == (symbol.value + 8 - static) & MASK
    assert "thread-local" in str(refusal(changed(link, "outside", symbol=number))), "it has no address"
    assert "a variable of its own" in str(
        refusal(changed(link, "outside", type_=Relocation.DTPMOD64, symbol=0))
    )


@pytest.mark.parametrize("kind", [10, 200, 38, 0xFFFFFFFF])
def test_kinds_that_nothing_is_known_of(link: Link, kind: int) -> None:
    assert refusal(changed(link, "outside", type_=kind)).reason is Reason.UNSUPPORTED_CONTAINER


@pytest.mark.parametrize("offset", [0, 0x10, 1 << 40, MASK - 3])
def test_places_outside_of_the_container(link: Link, offset: int) -> None:
    bad = changed(link, "outside", offset=offset)
    area = link.shape.area_at(offset, 8)
    if area is None:
        assert refusal(bad).reason is Reason.UNSUPPORTED_CONTAINER


def test_a_symbol_that_does_not_exist(link: Link) -> None:
    found = refusal(changed(link, "outside", symbol=5000))
    assert found.reason is Reason.UNSUPPORTED_CONTAINER and "does not exist" in str(found)


def test_a_symbol_that_nobody_defines(link: Link) -> None:
    image = link.container.image.replace(b"\0exported\0", b"\0exporter\0")
    found = refusal(dataclasses.replace(link, container=parse(image, path=link.container.path)))
    assert found.reason is Reason.UNRESOLVED_SYMBOL and "exporter" in str(found)


# References of the description


def referring(link: Link, **fields: Any) -> Link:
    (plain,) = [reference for reference in link.container.references if not reference.tls]
    reference = plain._replace(**fields)
    return dataclasses.replace(link, container=dataclasses.replace(link.container, references=(reference,)))


def test_a_private_variable_of_the_target(link: Link) -> None:
    assert link.word("reference") == link.target.bias + local(Path(link.target.path), "hidden")
    assert link.process.memory.read(link.word("reference"), 8) == struct.pack("<ii", 5, 6)
    # by name where the container gives no address
    assert referring(link, patch_offset=0).word("reference") == link.word("reference")
    # a part of the container's zero-filled data is a place as well
    place = link.own("zeros") + 8
    assert referring(link, patch_offset=place).patches()[place] == link.word("reference").to_bytes(
        8, "little"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_offset": 1 << 40}, "outside of the target"),
        ({"patch_offset": 1 << 40}, "outside of its data"),
        ({"patch_offset": 0, "patch_name": "absent"}, "no symbol absent"),
        ({"patch_offset": 0, "patch_name": "new"}, "outside of its data"),
    ],
)
def test_references_that_cannot_be(link: Link, fields: dict[str, Any], words: str) -> None:
    found = refusal(referring(link, **fields))
    assert found.reason is Reason.UNSUPPORTED_CONTAINER and words in str(found)


# What comes out


def test_new_functions(link: Link) -> None:
    assert new_functions(link.container, link.shape) == {"new": link.own("new")}
    for name, words in (
        ("absent", "no function absent"),
        ("own_data", "no function|not code"),
        ("inside", "not code"),
    ):
        unit = Unit(old_name="old", new_name=name, old_address=1)
        with pytest.raises(Refusal, match=words):
            new_functions(dataclasses.replace(link.container, units=(unit,)), link.shape)


def test_the_contents_with_everything_in_place(link: Link) -> None:
    patches = link.patches()
    found = relocated(link.shape, patches)
    for address, data in patches.items():
        pieces = b"".join(
            contents[max(address - start, 0) : address + len(data) - start]
            for start, contents in found
            if start < address + len(data) and address < start + len(contents)
        )
        assert pieces == data, hex(address)
    untouched = dict(relocated(link.shape, {}))
    for start, data in found:
        for index, (new, old) in enumerate(zip(data, untouched.get(start, data), strict=False)):
            inside = any(at <= start + index < at + len(value) for at, value in patches.items())
            assert new == old or inside


def test_a_word_across_the_end_of_the_contents(link: Link) -> None:
    """Behind the last byte of a segment in the file, its memory goes on with zeros."""
    shape = link.shape
    start, data = shape.contents[-1]
    end = start + len(data)
    pieces = relocated(shape, {end - 3: b"12345678"})
    assert dict(pieces)[start].endswith(b"123") and dict(pieces)[end] == b"45678"
