# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.model import KernelFunction, KernelObject, KernelPatch
from klp.stacks import Inside, Watch, find_inside, watch


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


def test_who_is_patched_leaves_what_is_replaced_and_older_live_patches() -> None:
    assert find_inside(STACK, watch(PATCHES, patch="new", unpatching=False)) == (
        Inside("a", "vmlinux"),
        Inside("b.isra.0", "vmlinux"),
        Inside("d", "nfsd"),
        Inside("old_a", "old"),
    )


def test_who_is_unpatched_leaves_the_live_patch_itself() -> None:
    assert find_inside(STACK, watch(PATCHES, patch="new", unpatching=True)) == (Inside("new_a", "new"),)


@pytest.mark.parametrize(
    "line", ["", "a+0x1/0x2", "[<0>] a", "[<0>] 0xffffffff81000000", "[<0>] a+0x1/0x2 x"]
)
def test_what_is_no_function_keeps_nobody(line: str) -> None:
    assert find_inside([line], Watch(functions=frozenset([Inside("a", "vmlinux")]))) == ()


@given(lines=st.lists(st.text()))
def test_any_stack_is_read(lines: list[str]) -> None:
    assert find_inside(lines, watch(PATCHES, patch="new", unpatching=False)) == ()
