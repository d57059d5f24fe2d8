# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from pathlib import Path

from klp.functions import State, patched_functions
from klp.model import read_patches
from tests.support.documentation import contradictions
from tests.support.kernel_tree import write_loaded, write_patch
from tests.support.klp import klp


def states(root: Path) -> list[tuple[str, str, str]]:
    functions = patched_functions(read_patches(root), root=root)
    return [(each.name, each.patch, each.overridden_by or each.state.value) for each in functions]


def test_the_live_patch_that_was_enabled_last_counts(tmp_path: Path) -> None:
    write_patch(tmp_path, "new", objects={"vmlinux": ["a,1", "b,1"]}, stack_order=2)
    write_patch(tmp_path, "old", objects={"vmlinux": ["a,1", "c,1"]}, stack_order=1)
    expected = [("a", "new", "in-use"), ("a", "old", "new"), ("b", "new", "in-use"), ("c", "old", "in-use")]
    assert states(tmp_path) == expected


def test_the_order_of_loading_counts_where_the_kernel_tells_no_other(tmp_path: Path) -> None:
    for name in ("a_new", "b_old"):
        write_patch(tmp_path, name, objects={"vmlinux": ["f,1"]})
    assert states(tmp_path) == [("f", "a_new", "unknown"), ("f", "b_old", "unknown")]
    write_loaded(tmp_path, "a_new", "b_old")
    assert states(tmp_path) == [("f", "a_new", "in-use"), ("f", "b_old", "a_new")]


def test_functions_of_one_name_are_told_apart(tmp_path: Path) -> None:
    objects = {"vmlinux": ["f,1", "f,2"], "nfsd": ["f,1"]}
    write_patch(tmp_path, "one", objects=objects)
    functions = patched_functions(read_patches(tmp_path), root=tmp_path)
    assert [(each.object, each.position) for each in functions] == [
        ("nfsd", 1),
        ("vmlinux", 1),
        ("vmlinux", 2),
    ]
    assert {each.state for each in functions} == {State.IN_USE}


def test_transitions_in_both_directions(tmp_path: Path) -> None:
    new = write_patch(tmp_path, "new", objects={"vmlinux": ["f,1"]}, stack_order=2, transition=1)
    write_patch(tmp_path, "old", objects={"vmlinux": ["f,1"]}, stack_order=1)
    assert states(tmp_path) == [("f", "new", "applying"), ("f", "old", "new")]
    (new / "enabled").write_text("0\n")
    assert states(tmp_path) == [("f", "new", "reverting"), ("f", "old", "new")]
    (new / "transition").write_text("0\n")
    assert states(tmp_path) == [("f", "new", "disabled"), ("f", "old", "in-use")]
    (new / "transition").write_text("?\n")
    assert states(tmp_path)[0] == ("f", "new", "unknown")


def test_a_module_that_is_not_loaded(tmp_path: Path) -> None:
    write_patch(tmp_path, "one", objects={"nfsd": ["f,1"]}, patched=0)
    assert states(tmp_path) == [("f", "one", "not-loaded")]
    write_patch(tmp_path, "older_kernel", objects={"nfsd": ["g,1"]}, patched=None)
    assert states(tmp_path)[1] == ("g", "older_kernel", "in-use")


def stacked(root: Path) -> Path:
    write_patch(root, "livepatch_2", objects={"vmlinux": ["a,1", "b,2"]}, stack_order=2)
    write_patch(root, "livepatch_1", objects={"vmlinux": ["a,1"], "evil\x1b[2J": ["c,1"]}, stack_order=1)
    return root


def test_the_list(tmp_path: Path) -> None:
    done = klp("functions", root=stacked(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "OBJECT       FUNCTION  LIVE PATCH   STATE\n"
        "evil\\x1b[2J  c         livepatch_1  in use\n"
        "vmlinux      a         livepatch_2  in use\n"
        "vmlinux      a         livepatch_1  overridden by livepatch_2\n"
        "vmlinux      b,2       livepatch_2  in use\n"
    )


def test_single_functions(tmp_path: Path) -> None:
    stacked(tmp_path)
    assert len(klp("functions", "c", "b", root=tmp_path).stdout.splitlines()) == 3
    done = klp("functions", "d", root=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_no_live_patches(tmp_path: Path) -> None:
    done = klp("functions", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_cannot_be_read_is_told_beside_the_list(tmp_path: Path) -> None:
    (write_patch(tmp_path, "one") / "enabled").write_text("?\n")
    done = klp("functions", root=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1].split()[-1]) == (0, "unknown")
    assert "one/enabled should hold a number" in done.stderr


def test_as_json(tmp_path: Path) -> None:
    answer = json.loads(klp("functions", "--json", root=stacked(tmp_path)).stdout)
    assert contradictions(answer) == []
    assert answer["functions"][2] == {
        "object": "vmlinux",
        "name": "a",
        "position": 1,
        "patch": "livepatch_1",
        "state": "overridden",
        "overridden_by": "livepatch_2",
    }
