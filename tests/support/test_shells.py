# SPDX-License-Identifier: GPL-2.0-or-later
"""The shells report what completions written by hand offer, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import shells


def folders(tmp_path: Path, name: str, completion: str) -> dict[str, Path]:
    for folder in ("completions", "scratch", "directory"):
        (tmp_path / folder).mkdir()
    (tmp_path / "completions" / name).write_text(completion)
    return {"scratch": tmp_path / "scratch", "directory": tmp_path / "directory"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_terminals(tmp_path: Path, shell: str) -> None:
    if shell == "bash":
        code = '_pick() { COMPREPLY=($(compgen -W "apple apricot pear" -- "$2")); }\n'
        places = folders(tmp_path, "pick", code)
        start = shells.bash
    else:
        places = folders(tmp_path, "_pick", '#compdef pick\ncompadd "$@" apple apricot pear\n')
        start = shells.zsh
    with start(tmp_path / "completions", **places) as terminal:
        assert terminal.complete("pick ap") == {"apple", "apricot"}
        assert terminal.complete("pick pe") == {"pear"}
        assert terminal.line == "pick pear "
        assert terminal.complete("pick x") == set()
        assert terminal.line == "pick x"


def test_fish(tmp_path: Path) -> None:
    places = folders(tmp_path, "pick.fish", 'complete -c pick -f -a "apple apricot pear"\n')
    fish = shells.Fish(tmp_path / "completions", **places)
    assert fish.complete("pick ap") == {"apple", "apricot"}
    assert fish.complete("pick x") == set()
