# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError
from lifecycle.data import FOLDERS, Data, read_data

DAY = datetime.date(2030, 1, 31)


def parse(content: str | bytes) -> Data:
    data = Data()
    data.add("P.lifecycle", content.encode() if isinstance(content, str) else content)
    return data


def found(content: str, name: str, edition: str = "1-1") -> tuple[datetime.date | None, str] | None:
    data = parse(content)
    assert data.problems == []
    line, successor = data.find(name, edition), data.successor(name, edition)
    return None if line is None else (line.date, successor.pattern if successor else "")


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("kernel-livepatch-6_4_0-default,*,2030-01-31", "kernel-livepatch-6_4_0-default", (DAY, "")),
        ("  a , 1-1 ,  2030-01-31  , b ", "a", (DAY, "b")),
        ("a,1-1,,b", "a", (None, "b")),
        ("a,1-2,2030-01-31", "a", None),
        ("a,1-*,2030-01-31", "a", (DAY, "")),
        ("a,1,2030-01-31", "a", None),  # the version is all of VERSION-RELEASE
        ("a.b,*,2030-01-31", "aXb", None),
        ("a*c,*,2030-01-31", "abbc", (DAY, "")),
        ("a*c,*,2030-01-31", "abbcd", None),
        ("postgresql*-*,*,,postgresql16-<2>", "postgresql96-server", (None, "postgresql16-server")),
        ("postgresql*-*,*,,<1>", "postgresql96-server-devel", (None, "96-server")),
        ("a,*,2030-01-31,b\na,*,2030-01-31", "a", (DAY, "b")),
        ("a,*,2030-01-31\na,*,,b", "a", (None, "b")),
        ("a,*,,b\na,*,,c", "a", (None, "c")),
        ("a,*,,x-<0>-<1>", "a", (None, "x-a-")),
        ("/^lib(.+)-(dev|doc)$/,*,2030-01-31,<2>-<1><9>", "libz-doc", (DAY, "doc-z")),
        ("/^(.)\\+$/,*,,/^<0><1>$/", "a+", (None, "/^a\\+a$/")),
        ("/oo/,*,2030-01-31", "foobar", (DAY, "")),
        ('"/a{1,2}b/",*,2030-01-31', "aab", (DAY, "")),
        ("a,*,2029-01-01\na,*,2030-01-31", "a", (DAY, "")),
        ("a*,*,2029-01-01\nab,*,2030-01-31", "ab", (DAY, "")),
        ("ab,*,2029-01-01\na*,*,2030-01-31", "ab", (DAY, "")),
        ("a,*,2030-01-31\na,2-1,2029-01-01", "a", (DAY, "")),
        ("# a comment\n\n   # another\r\na,*,2030-01-31\r\n", "a", (DAY, "")),
        ("", "a", None),
    ],
)
def test_lines(content: str, name: str, expected: tuple[datetime.date | None, str] | None) -> None:
    assert found(content, name) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a", "three or four fields"),
        ("a,*", "three or four fields"),
        ("a,*,2030-01-31,b,c", "three or four fields"),
        (",*,2030-01-31", "the name is missing"),
        ("a,,2030-01-31", "the version is missing"),
        ("a,*,", "neither a date nor a successor"),
        ("a,*,,", "neither a date nor a successor"),
        ("a,*,2030-02-31", "'2030-02-31' is no date"),
        ("a,*,31.01.2030", "is no date"),
        ("a,*,20300131", "is no date"),
        ("a,*,2030-W01-1", "is no date"),
        ("a,*,\u0662\u0660\u0663\u0660-01-31", "is no date"),
        ("/(/,*,2030-01-31", "is no regular expression"),
        ('"a,*,2030-01-31', "no CSV"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_count(line: str, words: str) -> None:
    data = parse(f"x,*,2030-01-31\n{line}\ny,*,2030-01-31\n")
    assert len(data.problems) == 1
    assert data.problems[0].startswith("P.lifecycle:2: ")
    assert words.replace("no CSV", "not CSV") in data.problems[0]
    assert data.find("x", "1-1")
    assert data.find("y", "1-1")


def test_bytes_that_are_no_text_are_one_wrong_line() -> None:
    data = parse(b"a,*,2030-01-31\n\xff\xfe,*,2030-01-31\n")
    assert data.problems == ["P.lifecycle:2: this is not UTF-8"]
    assert data.find("a", "1-1")


def test_an_expression_that_would_run_for_ever_is_named() -> None:
    data = parse("a,*,2030-01-31\n/(x+)+$/,*,2030-01-31\n")
    with pytest.raises(BadDataError, match=r"P\.lifecycle:2: .* takes too long"):
        data.find("x" * 60 + "!", "1-1")


def test_the_files_of_installed_products_are_read_in_order(tmp_path: Path) -> None:
    for number, folder in enumerate(FOLDERS):
        directory = tmp_path / folder
        directory.mkdir(parents=True)
        (directory / "SLES.lifecycle").write_text(f"a,*,203{number}-01-31\nb{number},*,2030-01-31\n")
        (directory / "other.lifecycle").write_text("c,*,2030-01-31\n")
    data = read_data(["SLES", "missing", "../SLES"], root=tmp_path)
    assert data.problems == []
    last = data.find("a", "1-1")
    assert last
    assert last.date == datetime.date(2032, 1, 31)
    assert last.place == str(tmp_path / FOLDERS[2] / "SLES.lifecycle:1")
    assert all(data.find(f"b{number}", "1-1") for number in range(3))
    assert data.find("c", "1-1") is None


def test_a_file_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    directory = tmp_path / FOLDERS[0]
    directory.mkdir(parents=True)
    with (directory / "SLES.lifecycle").open("wb") as file:
        file.truncate(17 << 20)
    assert "larger than 16 MiB" in read_data(["SLES"], root=tmp_path).problems[0]


@pytest.mark.parametrize(
    ("successor", "expected"),
    [
        ("b", ["b"]),
        ("b*", ["b", "bc"]),
        ("/c/", ["abc", "bc"]),
        ("/^[bd]$/", ["b"]),
        ("x", []),
    ],
)
def test_names_that_a_successor_can_have(successor: str, expected: list[str]) -> None:
    data = parse(f"a,*,,{successor}")
    said = data.successor("a", "1-1")
    assert said
    assert data.matching(said, ["abc", "b", "bc"]) == expected
    assert said.name == (successor if successor in "bx" else None)


@pytest.mark.parametrize(
    ("successor", "words"), [("/(/", "no regular expression"), ("/^(x+)+$/", "too long to match")]
)
def test_a_wrong_successor_is_named(successor: str, words: str) -> None:
    data = parse(f"# first\na,*,,{successor}")
    said = data.successor("a", "1-1")
    assert said
    with pytest.raises(BadDataError, match=rf"P\.lifecycle:2: .*{words}"):
        data.matching(said, ["x" * 60 + "!"])


few = st.text("ab*", min_size=1, max_size=4)


@given(
    rules=st.lists(st.tuples(few, few, st.booleans()), max_size=6),
    names=st.lists(st.text("ab", max_size=5), min_size=1, max_size=5),
    edition=st.text("ab", max_size=4),
)
def test_the_last_line_that_matches_counts(
    rules: list[tuple[str, str, bool]], names: list[str], edition: str
) -> None:
    def matches(pattern: str, text: str) -> bool:
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None

    def written(name: str, expression: bool) -> str:
        return f"/^{name.replace('*', '.*')}$/" if expression else name

    data = parse("".join(f"{written(name, expr)},{version},2030-01-31\n" for name, version, expr in rules))
    data.look_up(names)
    for name in names:
        expected = [
            at for at, rule in enumerate(rules) if matches(rule[0], name) and matches(rule[1], edition)
        ]
        line = data.find(name, edition)
        assert (line.number - 1 if line else None) == (expected[-1] if expected else None)


fields = st.text(st.characters(codec="utf-8"), max_size=12)
lines = st.lists(fields, max_size=5).map(",".join) | st.builds("{},{},2030-01-31".format, fields, fields)


@given(
    content=st.binary(max_size=200) | st.lists(lines, max_size=5).map(lambda each: "\n".join(each).encode())
)
def test_any_file_is_read(content: bytes) -> None:
    data = parse(content)
    places = [problem.split(":")[1] for problem in data.problems]
    assert len(places) == len(set(places)) <= content.count(b"\n") + 1
    data.find("name", "1-1")
