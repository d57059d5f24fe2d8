# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.locks import locked, read_locks
from tests.support.pools import pool

INSTALLED = [("foo", "1-1"), ("foo-devel", "1-1"), ("Bar", "2:3-1")]
OFFERED = [("foo", "1-1"), ("foo", "2-1"), ("foo", "10-1"), ("bar", "4-1"), ("product:foo", "1-1")]


def held(tmp_path: Path, content: str) -> set[str]:
    """What the locks hold, as REPOSITORY/NAME-EDITION."""
    path = tmp_path / "locks"
    path.write_text(content)
    read = read_locks(path)
    assert read.problems == []
    made = pool(installed=INSTALLED, one=OFFERED, two=[("foo", "2-1")])
    solvables = (made.id2solvable(number) for number in locked(made, read.locks))
    return {f"{each.repo.name}/{each.name}-{each.evr}" for each in solvables}


FOO = {"@System/foo-1-1", "one/foo-1-1", "one/foo-2-1", "one/foo-10-1", "two/foo-2-1"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", set()),
        ("type: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: foo\n", FOO),
        ("solvable_name: foo\nmatch_type: exact\n", FOO),
        ("solvable_name: fo\n", FOO | {"@System/foo-devel-1-1"}),
        ("solvable_name: FO*L\nmatch_type: glob\n", {"@System/foo-devel-1-1"}),
        ("solvable_name: FO*L\nmatch_type: glob\ncase_sensitive: on\n", set()),
        ("solvable_name: ^.ar$\nmatch_type: regex\n", {"@System/Bar-2:3-1", "one/bar-4-1"}),
        ("solvable_name: devel\nmatch_type: word\n", {"@System/foo-devel-1-1"}),
        ("solvable_name: dev\nmatch_type: word\n", set()),
        ("type: product\nsolvable_name: foo\n", set()),
        ("type: srcpackage\nsolvable_name: foo\n", set()),
        ("repo: two\nsolvable_name: foo\nmatch_type: exact\n", {"two/foo-2-1"}),
        ("repo: two\ntype: package\n", {"two/foo-2-1"}),
        (
            "install_status: installed\nsolvable_name: foo\nmatch_type: exact\n",
            {"@System/foo-1-1"},
        ),
        ("install_status: not-installed\nsolvable_name: bar\n", {"one/bar-4-1"}),
        ("solvable_name: foo\nmatch_type: exact\nversion: > 2\n", {"one/foo-10-1"}),
        (
            "solvable_name: foo\nmatch_type: exact\nversion: >=2-1\n",
            FOO - {"@System/foo-1-1", "one/foo-1-1"},
        ),
        ("solvable_name: foo\nmatch_type: exact\nversion: 2\n", {"one/foo-2-1", "two/foo-2-1"}),
        ("solvable_name: foo > 2\nmatch_type: exact\n", {"one/foo-10-1"}),
        ("solvable_name: foo\nmatch_type: exact\nversion: != 1\n", FOO - {"@System/foo-1-1", "one/foo-1-1"}),
        ("solvable_name: bar\nversion: < 2:3\n", {"one/bar-4-1"}),
        ("query_string: bar\nsolvable_name:\n", {"@System/Bar-2:3-1", "one/bar-4-1"}),
        ("query_string: foo-devel\n", {"@System/foo-devel-1-1"}),
        (
            "solvable_name: devel\n\n# a comment\nsolvable_name: bar\n",
            {"@System/foo-devel-1-1", "@System/Bar-2:3-1", "one/bar-4-1"},
        ),
    ],
)
def test_what_is_held(tmp_path: Path, content: str, expected: set[str]) -> None:
    assert held(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("match_type: fuzzy", "no match_type 'fuzzy'"),
        ("install_status: maybe", "no install_status 'maybe'"),
        ("complex: AttrMatchData solvable:name kernel", "no attribute 'complex'"),
    ],
)
def test_a_lock_that_is_not_understood_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "locks"
    path.write_text(f"solvable_name: x\n\nsolvable_name: y\n{line}\n\nsolvable_name: z\n")
    read = read_locks(path)
    assert [lock.attributes for lock in read.locks] == [(("solvable:name", "x"),), (("solvable:name", "z"),)]
    assert [lock.line for lock in read.locks] == [1, 6]
    assert len(read.problems) == 1
    assert read.problems[0].startswith(f"{path}:4: ")
    assert words in read.problems[0]


def test_no_file_holds_nothing(tmp_path: Path) -> None:
    assert read_locks(tmp_path / "locks").locks == []
    assert "cannot be read" in read_locks(tmp_path).problems[0]


@given(
    content=st.binary(max_size=120)
    | st.lists(
        st.sampled_from(
            ["solvable_name: foo", "version: < 2", "match_type: glob", "", "x", "repo: a", "type:"]
        ),
        max_size=8,
    ).map(lambda lines: "\n".join(lines).encode())
)
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-locks"
    path.write_bytes(content)
    locked(pool(installed=INSTALLED), read_locks(path).locks)
