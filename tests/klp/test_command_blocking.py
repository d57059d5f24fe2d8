# SPDX-License-Identifier: GPL-2.0-or-later
"""klp blocking as its users run it, down to the byte where scripts parse it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.kernel_tree import write_patch, write_task
from tests.support.klp import klp


@pytest.mark.parametrize(("flags", "output"), [((), ""), (("-v",), "no threads with klp_in_progress set\n")])
def test_nothing_blocks_when_ready(tmp_path: Path, flags: tuple[str, ...], output: str) -> None:
    write_patch(tmp_path, "livepatch_1")
    done = klp(*flags, "blocking", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    write_patch(tmp_path, "livepatch_1", transition=1)
    write_task(tmp_path, 9, state=1)
    write_task(tmp_path, 10, state=0, command=b"evil\0\x1b]0;owned\x07\0x", stack="[<0>] do_vfork+0x1/0x2\n")
    write_task(tmp_path, 20, 21, state=0, name="kworker/0:1")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "output"),
    [
        ((), "10 10\n20 21\n"),
        (("-v",), "10 10 evil \\x1b]0;owned\\x07 x\n20 21 [kworker/0:1]\n"),
        (
            ("-vv",),
            "10 10 evil \\x1b]0;owned\\x07 x\n    [<0>] do_vfork+0x1/0x2\n20 21 [kworker/0:1]\n",
        ),
    ],
)
def test_who_blocks_is_listed(blocked: Path, flags: tuple[str, ...], output: str) -> None:
    done = klp(*flags, "blocking", root=blocked)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_who_blocks_as_json(blocked: Path) -> None:
    answer = json.loads(klp("blocking", "--json", "-vv", root=blocked).stdout)
    assert answer == {
        "schema": "zypp-livepatch/klp-blocking",
        "version": 1,
        "patch": "livepatch_1",
        "unpatching": False,
        "threads": [
            {
                "pid": 10,
                "tid": 10,
                "name": "sleep",
                "command": ["evil", "\x1b]0;owned\x07", "x"],
                "stack": ["[<0>] do_vfork+0x1/0x2"],
            },
            {"pid": 20, "tid": 21, "name": "kworker/0:1", "command": [], "stack": []},
        ],
        "hidden": 0,
        "silent": [],
        "problems": [],
    }
