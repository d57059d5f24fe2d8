# SPDX-License-Identifier: GPL-2.0-or-later
"""What the builder of libraries and containers builds is what it says."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.support.containers import build_container, build_library
from ulp import container
from ulp.elf import Elf

LIBRARY = """
int counter = 7;
__thread int per_thread = 3;
static __attribute__((used)) int hidden = 5;
int answer(void) { return counter + per_thread + hidden; }
int same(void) { return 4; }
int same_again(void) { return 4; }
"""


def test_library_runs_and_has_what_processes_are_matched_by(tmp_path: Path) -> None:
    path = build_library(tmp_path, LIBRARY, name="libone.so.1")
    assert ctypes.CDLL(str(path)).answer() == 15
    elf = Elf(path.read_bytes())
    assert elf.soname == "libone.so.1"
    assert len(elf.build_id()) == 20


def test_functions_stay_apart(tmp_path: Path) -> None:
    elf = Elf(build_library(tmp_path, LIBRARY).read_bytes())
    same, again = elf.find("same"), elf.find("same_again")
    assert same and again and same.value != again.value


@pytest.mark.parametrize("endbr", [False, True])
@pytest.mark.parametrize("pads", [False, True])
def test_pads_and_endbr(tmp_path: Path, pads: bool, endbr: bool) -> None:
    path = build_library(tmp_path, LIBRARY, pads=pads, endbr=endbr)
    elf = Elf(path.read_bytes())
    answer = elf.find("answer")
    assert answer
    code = elf.read_address(answer.value, 6)
    assert (code[:4] == b"\xf3\x0f\x1e\xfa") == endbr
    assert (elf.read_address(answer.value - 14, 14) == b"\x90" * 14) == pads
    assert (code[4 * endbr :][:2] == b"\x90\x90") == pads
    assert (elf.section("__patchable_function_entries") is not None) == pads


def test_container_holds_functions_references_and_comments(tmp_path: Path) -> None:
    target = build_library(tmp_path, LIBRARY)
    path = build_container(
        tmp_path,
        """
        static int *counter_pointer __attribute__((used));
        static struct { unsigned long module, offset; } index_of_per_thread __attribute__((used));
        static int *hidden_pointer __attribute__((used));
        int new_answer(void) { return *counter_pointer + *hidden_pointer; }
        """,
        target=target,
        functions={"answer": "new_answer"},
        references=["counter:counter_pointer", "%per_thread:index_of_per_thread", "hidden:hidden_pointer"],
        comments="bsc#1 first\nsecond CVE-2024-1",
        name="patch7.so",
    )
    found = container.read(path)
    container.verify(found)
    elf = Elf(target.read_bytes())
    answer = elf.find("answer")
    assert answer
    assert (found.target_name, found.build_id) == ("libtarget.so.0", elf.build_id())
    assert [(unit.old_name, unit.new_name, unit.old_address) for unit in found.units] == [
        ("answer", "new_answer", answer.value)
    ]
    assert [(each.target_name, each.tls) for each in found.references] == [
        ("hidden", False),
        ("per_thread", True),
        ("counter", False),
    ]
    assert found.comments == "bsc#1 first\nsecond CVE-2024-1\n"
    assert ctypes.CDLL(str(path)).new_answer  # still an object that the dynamic linker loads


def test_flags_reach_the_compiler(tmp_path: Path) -> None:
    target = build_library(tmp_path, LIBRARY, flags=["-s"])
    assert Elf(target.read_bytes()).symbols(".symtab") == ()
    path = build_container(
        tmp_path,
        "extern int same(void); int new_answer(void) { return same(); }",
        target=target,
        functions={"answer": "new_answer"},
        flags=[str(target)],
    )
    assert "libtarget.so.0" in container.read(path).elf.needed


def test_source_that_does_not_compile_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="undeclared"):
        build_library(tmp_path, "int f(void) { return nothing; }")
