# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers go from libpulp's tools to ours and back.

Without libpulp (tests/support/libpulp.py), test_container_format.py holds the bytes against the documented format.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import build_library
from tests.support.libpulp import libpulp, needs_libpulp, peer
from ulp import container, description, packing
from ulp.container import Container
from ulp.library import read_library

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp

pytestmark = needs_libpulp
SECTIONS = (".ulp", ".ulp.rev", ".ulp.comments")
LIBRARY = """
int variable = 1;
__thread int padding = 1, per_thread = 2;
static __attribute__((used)) int private_variable = 3;
static __attribute__((used)) int private(void) { return 1; }
__attribute__((visibility("hidden"), used)) int hidden(void) { return 2; }
int exported(void) { return 3; }
"""
PATCH = """
int *pointer, *other;
int (*function)(void);
unsigned long index[2];
int new_one(void) { return 10; }
__attribute__((visibility("hidden"), used)) int new_two(void) { return 20; }
static __attribute__((used)) int new_three(void) { return 30; }
"""
DESCRIPTIONS = {
    "one function": "{patch}\n@{target}\nexported:new_one\n",
    "one comment": "! CVE-2024-1 fixed\n{patch}\n@{target}\nexported:new_one\n",
    "comment inside": "{patch}\n@{target}\n!only this, bsc#1\nexported:new_one\n",
    "private and hidden functions": "{patch}\n\n@{target}\nprivate:new_three\n\nhidden:new_two\nexported:new_one\n",
    "references": "{patch}\n@{target}\n#variable:pointer\nexported:new_one\n#private_variable:other\n"
    "#private:function\n",
    "thread-local": "{patch}\n@{target}\nexported:new_one\n#%per_thread:index\n#variable:pointer\n",
    "offsets": "{patch}\n@{target}\nexported:new_one\n#gone:nowhere:12:4010\n#%x:y:0x1f:4020\n",
    "no newline at the end": "{patch}\n@{target}\nexported:new_one",
}


def content(found: Container, name: str) -> bytes | None:
    section = found.elf.section(name)
    return found.elf.content(section) if section else None


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return build_library(tmp_path, LIBRARY)


@pytest.fixture
def both(tmp_path: Path, library: Path, request: pytest.FixtureRequest) -> tuple[Container, Container]:
    """The same description packed by us and by libpulp."""
    patch = build_library(tmp_path, PATCH, name="patch.so")
    described = tmp_path / "patch.dsc"
    described.write_text(request.param.format(patch=patch, target=library))
    shutil.copy(patch, tmp_path / "original")
    ours = packing.pack(description.read(str(described)))
    shutil.copy(tmp_path / "original", patch)
    done = libpulp("packer", described)
    assert done.returncode == 0, done.stdout + done.stderr
    return ours, container.read(patch)


@pytest.mark.parametrize("both", DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys(), indirect=True)
def test_packers_write_the_same_bytes(both: tuple[Container, Container]) -> None:
    ours, theirs = both
    for name in SECTIONS:
        assert content(ours, name) == content(theirs, name)


@pytest.mark.parametrize("both", ["! one\n{patch}\n! two\n@{target}\nexported:new_one\n"], indirect=True)
def test_libpulp_loses_all_comments_but_the_first(both: tuple[Container, Container]) -> None:
    """The one difference, on purpose: its packer leaves a NUL between the lines."""
    ours, theirs = both
    assert content(ours, ".ulp") == content(theirs, ".ulp")
    assert (ours.comments, theirs.comments) == (" one\n two\n", " one\n")


@pytest.mark.parametrize("both", DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys(), indirect=True)
def test_dumps_are_the_same(both: tuple[Container, Container], ulp: Ulp) -> None:
    """Each tool shows each file alike, but for libpulp's offsets in the container, which are those in the target."""
    ours, theirs = both
    path = Path(ours.path)
    for image in (ours.image, theirs.image):
        path.write_bytes(image)
        for options in ((), ("-b",), ("--revert",)):
            expected = libpulp("dump", *options, path)
            assert expected.returncode == 0
            shown = re.sub(r"patch_offset: .*", "patch_offset:", expected.stdout)
            assert re.sub(r"patch_offset: .*", "patch_offset:", ulp("dump", *options, path)[1]) == shown


@pytest.mark.parametrize("both", [DESCRIPTIONS["references"]], indirect=True)
def test_each_packer_replaces_what_the_other_made(both: tuple[Container, Container], tmp_path: Path) -> None:
    ours, theirs = both
    path = Path(ours.path)
    path.write_bytes(ours.image)
    assert libpulp("packer", tmp_path / "patch.dsc").returncode == 0
    assert container.read(path).units == theirs.units
    path.write_bytes(theirs.image)
    packing.pack(description.read(str(tmp_path / "patch.dsc")))
    again = container.read(path)
    assert [content(again, name) for name in SECTIONS] == [content(ours, name) for name in SECTIONS]


def test_json_of_libpulps_extract_is_read(library: Path, tmp_path: Path) -> None:
    assert libpulp("extract", library, "-o", tmp_path / "target.json").returncode == 0
    ours, theirs = read_library(str(library)), read_library(str(tmp_path / "target.json"))
    assert (ours.name, ours.build_id) == (theirs.name, theirs.build_id)
    for name in ("variable", "per_thread", "padding", "private_variable", "private", "hidden", "exported"):
        assert ours.symbol(name)[1:5] == theirs.symbol(name)[1:5]


@pytest.mark.parametrize("pads", [True, False])
def test_livepatchable_answers_alike(tmp_path: Path, ulp: Ulp, pads: bool) -> None:
    path = build_library(tmp_path, LIBRARY, pads=pads)
    status, _, err = ulp("livepatchable", path)
    theirs = libpulp("livepatchable", path)
    assert (status, err) == (theirs.returncode, theirs.stderr.partition("] ")[2])


def test_libpulp_applies_and_reverts_what_we_packed(tmp_path: Path) -> None:
    target = build_library(
        tmp_path, "static volatile int secret = 30; int answer(void) { return secret; }", pads=True
    )
    patch = build_library(
        tmp_path,
        "static int *volatile pointer __attribute__((used)); int new_answer(void) { return *pointer + 12; }",
        name="patch.so",
    )
    described = tmp_path / "patch.dsc"
    described.write_text(f"{patch}\n@{target}\nanswer:new_answer\n#secret:pointer\n")
    packing.pack(description.read(str(described)))
    main = tmp_path / "main.c"
    main.write_text(
        "#include <stdio.h>\nint answer(void);\n"
        'int main(void) { while (getchar() != EOF) { printf("%d\\n", answer()); fflush(stdout); } }'
    )
    program = tmp_path / "main"
    subprocess.run(["gcc", "-o", program, main, target, f"-Wl,-rpath,{tmp_path}"], check=True)
    with subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"LD_PRELOAD": str(peer().library)},
    ) as process:
        assert process.stdin and process.stdout

        def answer() -> int:
            assert process.stdin and process.stdout
            process.stdin.write("x")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            assert answer() == 30
            done = libpulp("trigger", "-p", str(process.pid), "-r", "100", patch)
            assert "SUCCESS" in done.stdout, done.stdout + done.stderr
            assert answer() == 42
            done = libpulp("trigger", "-p", str(process.pid), "-r", "100", "--revert", patch)
            assert "SUCCESS" in done.stdout, done.stdout + done.stderr
            assert answer() == 30
        finally:
            process.kill()
