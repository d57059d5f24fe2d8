# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions of a target: where they are, how long, and whether they can be diverted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.containers import build_container, build_library
from tests.support.images import loading
from tests.support.memory import FakeMemory
from ulp.container import Container, Unit, read
from ulp.engines.direct.functions import Function, Text, functions
from ulp.engines.direct.record import Description, Diversion, Record, State
from ulp.process import Object, Process
from ulp.result import Reason, Refusal
from ulp.standstill.ranges import Ranges

SOURCE = """
int plain(int x) { return x * 7 + 3; }
static __attribute__((noinline)) int private(int x) { return x * 5 + 1; }
int caller(int x) { return private(x) + private(x + 1); }
int other(int x) { return x * 9 + 2; }
static void *choose(void) { return plain; }
int choice(int) __attribute__((ifunc("choose")));
extern const char text[];
const char text[] = "no code";
__asm__(".text; .p2align 4; .globl tiny; .type tiny,@function; tiny: ret; .size tiny,.-tiny; ud2; ud2; ud2; ud2\\n"
        ".p2align 4; .globl padded; .type padded,@function; padded: ret; .size padded,.-padded; .p2align 4,0xcc\\n"
        ".globl alias; .type alias,@function; alias: jmp padded; .size alias,.-alias; .p2align 4\\n"
        ".globl entered; .type entered,@function; entered: nop; inner: nop; nop; nop; nop; nop; ret\\n"
        ".size entered,.-entered; .p2align 4; .globl intruder; .type intruder,@function\\n"
        "intruder: .cfi_startproc; xor %eax,%eax; jne inner; ret; .cfi_endproc; .size intruder,.-intruder\\n"
        ".p2align 4; .globl looping; .type looping,@function; looping: dec %edi; nop; nop; nop; jnz looping; ret\\n"
        ".size looping,.-looping; .p2align 4\\n");
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("functions")


@dataclass
class World:
    """A library in a process, and a container that replaces functions of it."""

    library: Path
    container: Container
    process: Process
    target: Object

    def value(self, name: str) -> tuple[int, int]:
        """Value and size of a symbol, by .symtab."""
        with self.library.open("rb") as file:
            elf: Any = ELFFile(file)
            (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name(name)
            return symbol["st_value"], symbol["st_size"]

    def units(self, *names: str, **addresses: int) -> tuple[Unit, ...]:
        return tuple(
            Unit(old_name=name, new_name="new", old_address=addresses.get(name, self.value(name)[0]))
            for name in names
        )

    def find(self, *names: str, active: tuple[Record, ...] = (), **addresses: Any) -> tuple[Function, ...]:
        container = replace(self.container, units=self.units(*names, **addresses))
        return functions(container, self.target, Text(self.process.memory, active))

    def refused(self, *names: str, **addresses: Any) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            self.find(*names, **addresses)
        return refusal.value


@pytest.fixture(scope="module")
def world(place: Path) -> Iterator[World]:
    library = build_library(place, SOURCE, name="libold.so")
    path = build_container(place, "int new(int x) { return x; }", target=library, functions={"plain": "new"})
    with loading(library) as pid, Process(pid, images={}) as process:
        (target,) = [item for item in process.linked_objects() if item.path == str(library)]
        yield World(library, read(path), process, target)


@pytest.mark.parametrize("name", ["plain", "private", "caller", "other", "padded", "looping"])
def test_where_a_function_is(world: World, name: str) -> None:
    (found,) = world.find(name)
    address, size = world.value(name)
    assert found.address == world.target.bias + address and found.name == name
    assert found.size == size
    assert found.site.entry == found.address and not found.site.pad
    assert found.original == world.process.memory.read(found.address, 5)


def test_functions_come_by_address(world: World) -> None:
    names = ("other", "plain", "caller")
    found = world.find(*names)
    assert [function.address for function in found] == sorted(function.address for function in found)
    assert {function.name for function in found} == set(names)


def test_a_function_that_the_container_names_only(world: World) -> None:
    """An address of 0 leaves it to the name, as for libpulp."""
    (found,) = world.find("plain", plain=0)
    assert found.address == world.target.bias + world.value("plain")[0]
    refused = world.refused("private", private=0)
    assert refused.reason is Reason.FUNCTION_NOT_PATCHABLE and "private" in str(refused)


def test_too_short(world: World) -> None:
    refused = world.refused("tiny")
    assert refused.reason is Reason.FUNCTION_TOO_SHORT and "tiny cannot be diverted: it has 1 bytes" in str(
        refused
    )


def test_an_alias_of_a_merged_function_with_filler_behind_it(world: World) -> None:
    (found,) = world.find("alias")
    assert found.size == 2 and found.site.size == 5


def test_a_branch_from_another_function_into_the_first_bytes(world: World) -> None:
    refused = world.refused("entered")
    assert refused.reason is Reason.FUNCTION_NOT_PATCHABLE
    assert f"{world.value('intruder')[0]:#x}" in str(refused) and "branches into its first bytes" in str(
        refused
    )


@pytest.mark.parametrize("address", [8, 0x10, 1 << 40, (1 << 64) - 8], ids=hex)
def test_what_is_not_in_the_code(world: World, address: int) -> None:
    refused = world.refused("plain", plain=address)
    assert refused.reason is Reason.FUNCTION_NOT_PATCHABLE and "is not in the code" in str(refused)
    assert "is not in the code" in str(world.refused("plain", plain=world.value("text")[0]))


def test_the_middle_of_a_function(world: World) -> None:
    refused = world.refused("plain", plain=world.value("plain")[0] + 2)
    assert refused.reason is Reason.FUNCTION_NOT_PATCHABLE and "no function of" in str(refused)


def test_two_names_of_one_function(world: World) -> None:
    """One function where both get the same replacement, as an author who knows aliases writes it."""
    address, _ = world.value("plain")
    assert [function.name for function in world.find("plain", "other", other=address)] == ["plain"]
    plain, other = world.units("plain", "other", other=address)
    container = replace(world.container, units=(plain, other._replace(new_name="newer")))
    with pytest.raises(Refusal, match="plain and other lie at the same place or overlap") as refused:
        functions(container, world.target, Text(world.process.memory, ()))
    assert refused.value.reason is Reason.FUNCTION_NOT_PATCHABLE


def test_a_choice_of_functions(world: World) -> None:
    """Its address is that of the function that chooses, which has run for the last time."""
    assert "choice is a choice of functions (IFUNC)" in str(world.refused("choice"))
    assert "choice is a choice of functions (IFUNC)" in str(world.refused("choice", choice=0))


@pytest.mark.parametrize("endbr", [False, True])
def test_pads(place: Path, endbr: bool) -> None:
    where = place / f"pads{endbr}"
    where.mkdir()
    library = build_library(where, SOURCE.partition("extern")[0], pads=True, endbr=endbr)
    with loading(library) as pid, Process(pid, images={}) as process:
        (target,) = [item for item in process.linked_objects() if item.path == str(library)]
        path = build_container(
            where, "int new(int x) { return x; }", target=library, functions={"plain": "new"}
        )
        (found,) = functions(read(path), target, Text(process.memory, ()))
        skip = 4 if endbr else 0
        assert found.site.pad and found.site.address == found.address - 14
        assert found.site.entry == found.address + skip and found.site.size == 16 + skip
        assert found.original.startswith(b"\x90" * 14)


def test_a_breakpoint_of_a_debugger(world: World) -> None:
    address = world.target.bias + world.value("other")[0]
    before = world.process.memory.read(address, 1)
    world.process.memory.write(address, b"\xcc")
    try:
        assert "breakpoint" in str(world.refused("other"))
    finally:
        world.process.memory.write(address, before)


def record_of(*changes: tuple[int, bytes, bytes], sequence: int) -> Record:
    return Record(
        address=0, size=0, state=State.ACTIVE, sequence=sequence, journal=None,
        description=Description(
            patch_id=b"", container="", library="", target_name="", build_id=b"", labels=(), time=0.0, bias=0, end=0,
            diversions=tuple(
                Diversion(name="f", function=at, new=0, address=at, entry=at, pad=False, before=before, after=after)
                for at, before, after in changes
            ),
        ),
    )  # fmt: skip


def test_the_text_below_all_live_patches() -> None:
    memory = FakeMemory({100: b"...CCC......"})
    records = [
        record_of((103, b"BBB", b"CCC"), sequence=3),
        record_of((103, b"AAA", b"BBB"), sequence=2),
        record_of((103, b"ooo", b"AAA"), (200, b"x", b"y"), sequence=1),
    ]
    text = Text(memory, records)
    assert text.now(100, 8) == b"...CCC.."
    assert text.original(100, 8) == b"...ooo.."
    for start in range(100, 108):
        for end in range(start, 108):
            assert text.original(start, end - start) == b"...ooo.."[start - 100 : end - 100]
    assert Text(memory, records[:1]).original(100, 8) == b"...BBB.."


def test_a_patched_function_is_judged_by_its_original_bytes(world: World) -> None:
    (before,) = world.find("other")
    site = before.site
    detour = site.detour(before.address + 0x10000, before.original)
    world.process.memory.write(site.address, detour)
    try:
        (after,) = world.find(
            "other", active=(record_of((site.address, before.original, detour), sequence=1),)
        )
        assert after == before
    finally:
        world.process.memory.write(site.address, before.original)


def test_ranges() -> None:
    ranges = Ranges([(300, 10, "c"), (100, 50, "a"), (200, 0, "nothing"), (150, 50, "b")])
    expected = {
        99: None,
        100: "a",
        149: "a",
        150: "b",
        199: "b",
        200: None,
        299: None,
        300: "c",
        309: "c",
        310: None,
    }
    assert {address: ranges.name_at(address) for address in expected} == expected
    assert ranges.bounds == [(100, 150), (150, 200), (200, 200), (300, 310)]
    assert Ranges(()).name_at(5) is None


def test_most_functions_of_the_c_library_can_be_diverted() -> None:
    with Process(os.getpid(), images={}) as process:
        (libc,) = [item for item in process.linked_objects() if item.image.soname == "libc.so.6"]
        text = Text(process.memory, ())
        container = Container(
            path="c", image=b"", patch_id=bytes(32), build_id=b"", target_name="libc.so.6", units=(), dependencies=(),
            references=(), comments="",
        )  # fmt: skip
        names = subprocess.run(
            ["nm", "-D", "--defined-only", "--format=posix", libc.path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        good: list[Function] = []
        bad = 0
        for line in names.splitlines()[::9]:
            name, kind, value, *_ = line.split()
            if kind in "TW":
                unit = Unit(old_name=name.partition("@")[0], new_name="new", old_address=int(value, 16))
                try:
                    good += functions(replace(container, units=(unit,)), libc, text)
                except Refusal as refusal:
                    assert refusal.reason in {Reason.FUNCTION_TOO_SHORT, Reason.FUNCTION_NOT_PATCHABLE}
                    bad += 1
    assert len(good) > 150 and bad < len(good) / 10
