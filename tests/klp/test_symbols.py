# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.symbols import Place, Symbol, other_names

# As kernels with 64 bits write it; "twice" is two functions of that name.
LIST = """\
ffffffff81000000 T first
ffffffff81000000 t __do_first
ffffffff81000100 t twice
ffffffff81000200 t twice
ffffffff81000200 t __second
ffffffffc0000000 t first\t[nfsd]
ffffffffc0000000 t other\t[nfsd]
"""


def names(root: Path, *places: Place) -> set[str] | None:
    found = other_names(places, root=str(root))
    return None if found is None else {f"{symbol.object}:{symbol.function}" for symbol in found}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(LIST)
    return tmp_path


@pytest.mark.parametrize(
    ("function", "name", "position", "expected"),
    [
        ("first", "vmlinux", 1, {"vmlinux:first", "vmlinux:__do_first"}),
        ("first", "nfsd", 1, {"nfsd:first", "nfsd:other"}),
        ("twice", "vmlinux", 1, {"vmlinux:twice"}),
        ("twice", "vmlinux", 2, {"vmlinux:twice", "vmlinux:__second"}),
        ("twice", "vmlinux", 3, None),
        ("none", "vmlinux", 1, None),
    ],
)
def test_names_with_the_address_of_a_function(
    root: Path, function: str, name: str, position: int, expected: set[str] | None
) -> None:
    assert names(root, Place(Symbol(function, name), position)) == expected


def test_addresses_that_are_not_shown_are_not_compared(root: Path) -> None:
    text = "".join(f"{0:016x}{line[16:]}\n" for line in LIST.splitlines())
    (root / "proc/kallsyms").write_text(text)
    assert names(root, Place(Symbol("first", "vmlinux"), 1)) is None


def test_no_list(tmp_path: Path) -> None:
    assert names(tmp_path, Place(Symbol("first", "vmlinux"), 1)) is None


def test_the_list_of_this_machine() -> None:
    """Every kernel has a function for this system call."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
    getpid = Symbol(f"__{machine}_sys_getpid", "vmlinux")
    found = other_names([Place(getpid, 1)], root="/")
    shown = any(line[:16].strip("0") for line in Path("/proc/kallsyms").read_text().splitlines()[:1000])
    assert (found is not None and getpid in found) == shown


@given(text=st.binary())
def test_any_list_is_read(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "proc").mkdir()
    (root / "proc/kallsyms").write_bytes(b"ffffffff81000000 T first\n" + text)
    assert "vmlinux:first" in (names(root, Place(Symbol("first", "vmlinux"), 1)) or ())
