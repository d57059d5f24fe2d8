# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.model import KernelFunction, KernelObject, KernelPatch, ranks, read_patches
from tests.support.kernel_tree import write_loaded, write_patch


def test_a_patch_of_a_kernel_6_1(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", objects={"vmlinux": ["b,1", "a,1"], "nfsd": ["c,2"]})
    assert read_patches(tmp_path) == (
        KernelPatch(
            name="livepatch_1",
            enabled=True,
            transition=False,
            replace=None,
            stack_order=None,
            objects=(
                KernelObject(name="nfsd", patched=True, functions=(KernelFunction(name="c", position=2),)),
                KernelObject(
                    name="vmlinux",
                    patched=True,
                    functions=(KernelFunction(name="a", position=1), KernelFunction(name="b", position=1)),
                ),
            ),
        ),
    )


def test_what_older_and_newer_kernels_tell(tmp_path: Path) -> None:
    write_patch(tmp_path, "old", patched=None)
    write_patch(tmp_path, "new", patched=0, replace=1, stack_order=2, enabled=0, transition=1)
    new, old = sorted(read_patches(tmp_path), key=lambda patch: patch.name)
    assert old.objects[0].patched is None
    assert (new.enabled, new.transition, new.replace, new.stack_order) == (False, True, True, 2)
    assert new.objects[0].patched is False
    assert old.problems == new.problems == ()


def test_the_stack_order_counts_where_the_kernel_tells_it(tmp_path: Path) -> None:
    for name, order in (("a", 3), ("b", 1), ("c", 2)):
        write_patch(tmp_path, name, stack_order=order)
    write_loaded(tmp_path, "a", "b", "c")
    assert [patch.name for patch in read_patches(tmp_path)] == ["b", "c", "a"]


def test_the_order_of_loading_counts_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_patch(tmp_path, name)
    patches = read_patches(tmp_path)
    assert ([patch.name for patch in patches], ranks(patches, root=tmp_path)) == (["a", "b", "c"], {})
    write_loaded(tmp_path, "a", "other", "c", "b")
    assert [patch.name for patch in read_patches(tmp_path)] == ["b", "c", "a"]
    assert sorted(ranks(patches, root=tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("enabled", "transition", "expected"), [(1, 0, True), (1, 1, False), (0, 1, False), ("?", 0, False)]
)
def test_in_effect_is_what_every_thread_runs(
    tmp_path: Path, enabled: int | str, transition: int, expected: bool
) -> None:
    write_patch(tmp_path, "livepatch_1", enabled=enabled, transition=transition)
    assert read_patches(tmp_path)[0].in_effect is expected


def test_files_that_are_wrong_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    directory = write_patch(tmp_path, "broken", enabled="maybe", objects={"vmlinux": ["a,1", "no_position"]})
    (directory / "transition").unlink()
    write_patch(tmp_path, "good")
    broken, good = read_patches(tmp_path)
    assert (broken.enabled, broken.transition) == (None, None)
    assert [function.name for function in broken.objects[0].functions] == ["a"]
    assert [sentence.removeprefix(str(directory)).split()[0] for sentence in broken.problems] == [
        "/vmlinux/no_position",
        "/enabled",
        "/transition",
    ]
    assert good.enabled is True
    assert good.problems == ()


def test_no_live_patching_is_no_live_patches(tmp_path: Path) -> None:
    assert read_patches(tmp_path) == ()


def test_patches_that_vanish_while_they_are_read_are_left_out(tmp_path: Path) -> None:
    directories = [write_patch(tmp_path, f"livepatch_{number}") for number in range(8)]
    unmoved = read_patches(tmp_path)[0]
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            for directory in directories[1:]:
                directory.rename(tmp_path / "away")  # as in sysfs, all of it goes at once
                (tmp_path / "away").rename(directory)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(200):
            assert read_patches(tmp_path)[0] == unmoved
    finally:
        done.set()
        thread.join()


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 100
)
contents = st.binary(max_size=40)
trees = st.dictionaries(names, contents | st.dictionaries(names, contents, max_size=3), max_size=4)


def write(directory: Path, tree: object) -> None:
    if isinstance(tree, bytes):
        directory.write_bytes(tree)
        return
    assert isinstance(tree, dict)
    directory.mkdir(parents=True, exist_ok=True)
    for name, child in tree.items():
        write(directory / name, child)


@given(patches=st.dictionaries(names, trees, max_size=3))
def test_any_tree_is_read(tmp_path_factory: pytest.TempPathFactory, patches: dict[str, object]) -> None:
    root = tmp_path_factory.mktemp("any")
    write(root / "sys/kernel/livepatch", patches)
    assert sorted(patch.name for patch in read_patches(root)) == sorted(patches)
