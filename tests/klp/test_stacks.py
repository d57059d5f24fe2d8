# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.model import KernelFunction, KernelObject, KernelPatch
from klp.stacks import Watch, find_inside, watch
from klp.symbols import Symbol


def patch(name: str, objects: dict[str, list[str]]) -> KernelPatch:
    return KernelPatch(
        name=name,
        enabled=True,
        transition=False,
        replace=None,
        stack_order=None,
        objects=tuple(
            KernelObject(
                name=each,
                patched=True,
                functions=tuple(KernelFunction(name=function, position=1) for function in functions),
            )
            for each, functions in objects.items()
        ),
    )


PATCHES = (
    patch("old", {"vmlinux": ["a", "c"]}),
    patch("new", {"vmlinux": ["a", "b.isra.0"], "nfsd": ["d"]}),
)

# Linux 6.1 writes the first four, the fifth has a build-id (CONFIG_STACKTRACE_BUILD_ID).
STACK = """\
[<0>] a+0x1c/0x30
[<0>] b.isra.0+0x10/0x20
[<0>] d+0x10/0x20 [nfsd]
[<0>] new_a+0x10/0x20 [new]
[<ffffffffc0001234>] old_a+0x10/0x20 [old 0123456789abcdef]
[<0>] c+0x1/0x2
[<0>] d+0x1/0x2
[<0>] a+0x1c/0x30
""".splitlines()


ALIASES = """\
ffffffff81000000 T a
ffffffff81000000 t __do_a
ffffffff81000100 t b.isra.0
ffffffffc0000000 t d\t[nfsd]
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(ALIASES)
    return str(tmp_path)


def test_who_is_patched_leaves_what_is_replaced_and_older_live_patches(root: str) -> None:
    watched = watch(PATCHES, patch="new", unpatching=False, root=root)
    assert watched.complete
    assert find_inside(STACK, watched) == (
        Symbol("a", "vmlinux"),
        Symbol("b.isra.0", "vmlinux"),
        Symbol("d", "nfsd"),
        Symbol("old_a", "old"),
    )


def test_a_stack_may_name_a_function_by_its_other_name(root: str) -> None:
    """As __do_sys_pause stands on it when __x64_sys_pause is patched."""
    watched = watch(PATCHES, patch="new", unpatching=False, root=root)
    assert find_inside(["[<0>] __do_a+0x44/0x70"], watched) == (Symbol("__do_a", "vmlinux"),)
    assert find_inside(["[<0>] __do_b+0x44/0x70"], watched) == ()


def test_without_the_other_names_nobody_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    watched = watch(PATCHES, patch="new", unpatching=False, root=str(tmp_path))
    assert find_inside(["[<0>] __do_a+0x44/0x70"], watched) is None
    assert find_inside(["[<0>] a+0x44/0x70"], watched) == (Symbol("a", "vmlinux"),)


def test_who_is_unpatched_leaves_the_live_patch_itself(tmp_path: Path) -> None:
    watched = watch(PATCHES, patch="new", unpatching=True, root=str(tmp_path))
    assert find_inside(STACK, watched) == (Symbol("new_a", "new"),)
    assert find_inside(STACK[:3], watched) == ()


@pytest.mark.parametrize(
    "line", ["", "a+0x1/0x2", "[<0>] a", "[<0>] 0xffffffff81000000", "[<0>] a+0x1/0x2 x"]
)
def test_what_is_no_function_keeps_nobody(line: str) -> None:
    assert find_inside([line], Watch(functions=frozenset([Symbol("a", "vmlinux")]))) == ()


@given(lines=st.lists(st.text()))
def test_any_stack_is_read(lines: list[str]) -> None:
    assert find_inside(lines, Watch(modules=frozenset(["old"]))) == ()
