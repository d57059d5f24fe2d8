# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers are made from descriptions: right addresses, all mistakes told, all or nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from host.errors import BadDataError
from tests.support.containers import build_container, build_library
from tests.ulp.test_library import as_extract
from ulp import container, description, packing
from ulp.container import Container
from ulp.elf import Elf
from ulp.library import read_library
from ulp.md4 import md4

LIBRARY = """
int variable = 1;
__thread int padding = 1, per_thread = 2;
static __attribute__((used)) int private_variable = 3;
static __attribute__((used)) int private(void) { return 1; }
__attribute__((visibility("hidden"), used)) int hidden(void) { return 2; }
int exported(void) { return 3; }
static int target(void) { return 4; }
static int (*choose(void))(void) { return target; }
int chosen(void) __attribute__((ifunc("choose")));
"""
PATCH = """
int *pointer, *other_pointer, (*function)(void);
unsigned long index[2];
__thread int own_thread_local;
int new_one(void) { return 10; }
__attribute__((visibility("hidden"), used)) int new_two(void) { return 20; }
static __attribute__((used)) int new_three(void) { return 30; }
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return build_library(tmp_path, LIBRARY)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    return build_library(tmp_path, PATCH, name="patch.so")


def packed(patch: Path, library: Path | str, lines: str) -> Container:
    return packing.pack(description.parse(f"{patch}\n@{library}\n{lines}\n".encode(), path="x.dsc"))


def nm(path: Path) -> dict[str, int]:
    output = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return {
        line.split()[2]: int(line.split()[0], 16) for line in output.splitlines() if len(line.split()) == 3
    }


def test_addresses_are_those_of_nm(library: Path, patch: Path) -> None:
    packed(
        patch,
        library,
        "private:new_one\nhidden:new_two\nexported:new_three\n#variable:pointer\n"
        "#private_variable:other_pointer\n#private:function\n#%per_thread:index",
    )
    found = container.read(patch)
    container.verify(found)
    target, own = nm(library), nm(patch)
    assert [(unit.old_name, unit.new_name, unit.old_address) for unit in found.units] == [
        ("private", "new_one", target["private"]),
        ("hidden", "new_two", target["hidden"]),
        ("exported", "new_three", target["exported"]),
    ]
    assert [
        (each.target_name, each.target_offset, each.patch_offset, each.tls) for each in found.references
    ] == [
        ("per_thread", target["per_thread"], own["index"], True),
        ("private", target["private"], own["function"], False),
        ("private_variable", target["private_variable"], own["other_pointer"], False),
        ("variable", target["variable"], own["pointer"], False),
    ]


def test_patch_id_is_made_of_build_id_and_description(library: Path, patch: Path) -> None:
    found = packed(patch, library, "exported:new_one")
    text = f"{patch}\n@{library}\nexported:new_one\n".encode()
    assert found.patch_id == Elf(patch.read_bytes()).build_id()[:16] + md4(text)


def test_json_of_extract_stands_in_for_the_library(library: Path, patch: Path, tmp_path: Path) -> None:
    lines = "private:new_one\n#%per_thread:index"
    (tmp_path / "target.json").write_bytes(as_extract(read_library(str(library))))
    found = packed(patch, tmp_path / "target.json", lines)
    assert vars(packed(patch, library, lines))["units"] == found.units
    assert (found.target_name, found.build_id) == (library.name, Elf(library.read_bytes()).build_id())


@pytest.mark.parametrize("name", ["", "a/b.so", "a\n.so", "\x1b[2J", "\udcff.so"])
def test_names_of_targets_that_no_container_can_hold(
    library: Path, patch: Path, tmp_path: Path, name: str
) -> None:
    content = json.loads(as_extract(read_library(str(library))))
    content["library"]["name"] = name
    (tmp_path / "target.json").write_text(json.dumps(content))
    with pytest.raises(description.DescriptionError, match=r"2:2: .*a name that no container can hold"):
        packed(patch, tmp_path / "target.json", "exported:new_one")


def test_offsets_in_the_description_need_no_symbols(library: Path, patch: Path) -> None:
    subprocess.run(["strip", library, patch], check=True)
    found = packed(patch, library, f"exported:new_one\n#gone:gone_too:123:{nm_dynamic(patch, 'pointer'):x}")
    assert (found.references[0].target_offset, found.references[0].target_name) == (0x123, "gone")
    container.verify(found)


def nm_dynamic(path: Path, name: str) -> int:
    symbol = Elf(path.read_bytes()).find(name)
    assert symbol
    return symbol.value


def test_packing_again_replaces_all_sections(library: Path, patch: Path) -> None:
    packed(patch, library, "! with words\nexported:new_one\n#variable:pointer")
    size = patch.stat().st_size
    found = packed(patch, library, "private:new_two")
    assert [unit.old_name for unit in found.units] == ["private"]
    assert (found.references, found.comments) == ((), "")
    assert container.read(patch) == found
    assert patch.stat().st_size <= size


def test_other_paths_than_in_the_description(library: Path, patch: Path, tmp_path: Path) -> None:
    text = description.parse(b"/nowhere/patch.so\n@/nowhere/target.so\nexported:new_one\n", path="x.dsc")
    found = packing.pack(text, container=str(patch), target=str(library))
    assert (found.path, found.target_name) == (str(patch), library.name)


def test_dependencies_come_from_containers_and_from_former_files(library: Path, tmp_path: Path) -> None:
    first = build_container(
        tmp_path, "int g(void) { return 1; }", target=library, functions={"exported": "g"}, name="first.so"
    )
    former = tmp_path / "former.ulp"
    former.write_bytes(b"\x01" + bytes(range(32)) + b"and more")
    second = build_library(tmp_path, PATCH, name="second.so")
    found = packing.pack(
        description.parse(
            f"{second}\n*{first}\n*{former}\n@{library}\nexported:new_one\n".encode(), path="x.dsc"
        )
    )
    assert found.dependencies == (container.read(first).patch_id, bytes(range(32)))
    former.write_bytes(b"\x01short")
    with pytest.raises(description.DescriptionError, match=r"x\.dsc:2:2: .*too short"):
        packing.pack(
            description.parse(f"{second}\n*{former}\n@{library}\nexported:new_one\n".encode(), path="x.dsc")
        )


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("absent:new_one", 1, "symbol absent is not present in .*libtarget.so.0"),
        ("exported:absent", 10, "symbol absent is not present in .*patch.so"),
        ("variable:new_one", 1, "variable is not a function"),
        ("exported:pointer", 10, "pointer is not a function"),
        ("chosen:new_one", 1, "chosen is a choice of functions"),
        ("#absent:pointer", 2, "symbol absent is not present"),
        ("#variable:absent", 11, "symbol absent is not present"),
        ("#per_thread:index", 2, "per_thread is thread-local"),
        ("#%variable:index", 3, "variable is not thread-local"),
        ("#variable:own_thread_local", 11, "own_thread_local is thread-local"),
    ],
)
def test_mistakes_leave_the_file_alone(
    library: Path, patch: Path, line: str, column: int, message: str
) -> None:
    before = patch.read_bytes()
    with pytest.raises(description.DescriptionError, match=rf"x\.dsc:3:{column}: {message}"):
        packed(patch, library, line)
    assert patch.read_bytes() == before
    assert {each.name for each in patch.parent.iterdir()} == {
        "libtarget.so.0",
        "libtarget.so.0.c",
        "patch.so",
        "patch.so.c",
    }


def test_all_mistakes_are_told_at_once(library: Path, patch: Path) -> None:
    with pytest.raises(description.DescriptionError) as caught:
        packed(patch, library, "absent:also_absent\n#none:nothing\nexported:new_one")
    assert len(caught.value.diagnostics) == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("/nowhere.so\n@{library}", "1:1: /nowhere.so: No such file"),
        ("{patch}\n@/nowhere.so", "2:2: /nowhere.so: No such file"),
        ("{patch}\n@/tmp", "2:2: .*a directory"),
        ("/tmp\n@{library}", "1:1: .*a directory"),
        ("{patch}\n@{patch}.c", "2:2: .*neither an ELF file nor the JSON"),
        ("{patch}.c\n@{library}", "1:1: .*not an ELF file"),
    ],
)
def test_files_that_are_none(library: Path, patch: Path, lines: str, message: str) -> None:
    text = lines.format(library=library, patch=patch) + "\nexported:new_one\n"
    with pytest.raises(description.DescriptionError, match=message):
        packing.pack(description.parse(text.encode(), path="x.dsc"))


def test_build_ids_are_needed(tmp_path: Path, library: Path, patch: Path) -> None:
    without = build_library(tmp_path, PATCH, name="without.so", flags=["-Wl,--build-id=none"])
    with pytest.raises(description.DescriptionError, match="it has no build-id"):
        packed(without, library, "exported:new_one")
    short = build_library(tmp_path, LIBRARY, name="short.so", flags=["-Wl,--build-id=md5"])
    with pytest.raises(description.DescriptionError, match="has 16 instead of 20 bytes"):
        packed(patch, short, "exported:new_one")
    own_short = build_library(tmp_path, PATCH, name="own_short.so", flags=["-Wl,--build-id=0x0102"])
    assert packed(own_short, library, "exported:new_one").patch_id[:16] == b"\1\2" + bytes(14)


def test_machines_must_agree(library: Path, patch: Path) -> None:
    image = bytearray(library.read_bytes())
    image[18] = 183
    library.write_bytes(image)
    with pytest.raises(description.DescriptionError, match="different machines"):
        packed(patch, library, "exported:new_one")


def test_promise_that_the_container_cannot_keep_is_not_written(library: Path, patch: Path) -> None:
    before = patch.read_bytes()
    with pytest.raises(BadDataError, match="no loadable segment"):
        packed(patch, library, "exported:new_one\n#variable:pointer:0:ffffff00")
    assert patch.read_bytes() == before
