# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions: what is understood, what is refused and where, and that any bytes end in one or the other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import BadDataError, NoInputError
from ulp.description import Description, DescriptionError, parse, read

GOOD = """\
! bsc#1 fixes
/path/live patch.so

*/old/dependency.ulp
! more
@/lib64/libtarget.so.0
first:new_first
\x20\x20
#variable:pointer
second:new_second
#%local:index
#data:place:1f:0xFFFFFFFFFFFFFFFF
!last"""


def understood(text: str) -> Description:
    return parse(text.encode("utf-8", "surrogateescape"), path="x.dsc")


def test_everything_that_can_be_said() -> None:
    found = understood(GOOD)
    assert found.container.text == "/path/live patch.so"
    assert (found.container.line, found.container.column) == (2, 1)
    assert (found.target.text, found.target.line, found.target.column) == ("/lib64/libtarget.so.0", 6, 2)
    assert [word.text for word in found.dependencies] == ["/old/dependency.ulp"]
    assert [(each.old.text, each.new.text) for each in found.functions] == [
        ("first", "new_first"),
        ("second", "new_second"),
    ]
    assert [(each.target.text, each.patch.text, each.tls, each.offsets) for each in found.variables] == [
        ("variable", "pointer", False, None),
        ("local", "index", True, None),
        ("data", "place", False, (0x1F, 0xFFFFFFFFFFFFFFFF)),
    ]
    assert found.comments == " bsc#1 fixes\n more\nlast"
    assert found.data == GOOD.encode()


def test_line_ends_of_other_systems() -> None:
    found = understood("x.so\r\n@y.so\r\nf:g\r\n")
    assert (found.container.text, found.target.text, found.functions[0].new.text) == ("x.so", "y.so", "g")


def test_comment_keeps_bytes_that_are_not_utf8() -> None:
    assert understood("!caf\udce9\nx\n@y\nf:g").comments == "caf\udce9\n"


def test_a_live_patch_may_change_nothing() -> None:
    assert understood("x\n@y\n").functions == ()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "1:1", "the path of the live patch is missing"),
        ("\n! only words\n", "2:1", "the path of the live patch is missing"),
        ("@y\nf:g\n", "1:1", "the path of the live patch must come first"),
        ("x\n", "1:1", "the target is missing"),
        ("x\nf:g\n", "2:1", "the target is missing"),
        ("x\n@\n", "2:2", "the path of the target is missing"),
        ("x\n@y\n@z\n", "3:2", "a second target; the first is in line 2"),
        ("x\n@y\nf\n", "3:1", "expected old_function:new_function"),
        ("x\n@y\nf:\n", "3:3", "expected old_function:new_function"),
        ("x\n@y\n:g\n", "3:1", "expected old_function:new_function"),
        ("x\n@y\nf:g:h\n", "3:5", "expected old_function:new_function"),
        ("x\n@y\nf:g\nf:h\n", "4:1", "function f was already replaced in line 3"),
        ("x\n@y\n#v\n", "3:2", "expected #variable:reference"),
        ("x\n@y\n#%v\n", "3:3", "expected #%variable:reference"),
        ("x\n@y\n#v:p:1\n", "3:6", "expected #variable:reference"),
        ("x\n@y\n#v:p:1:2:3\n", "3:10", "expected #variable:reference"),
        ("x\n@y\n#v:p:1:zz\n", "3:8", "expected an offset"),
        ("x\n@y\n#v:p:-1:2\n", "3:6", "expected an offset"),
        ("x\n@y\n#v:p:1ffffffffffffffff:2\n", "3:6", "expected an offset"),
        ("x\n@y\nf:\x1b[2J\n", "3:1", "unprintable"),
        ("x\n@y\nf:\udcff\n", "3:1", "unprintable characters, or not UTF-8"),
        ("x\0\n@y\nf:g\n", "1:1", "unprintable"),
        ("!a\0b\nx\n@y\nf:g\n", "1:3", "a NUL in a comment"),
    ],
)
def test_mistakes_are_located(text: str, place: str, message: str) -> None:
    with pytest.raises(DescriptionError, match=rf"^x\.dsc:{place}: ({message})"):
        understood(text)


def test_mistakes_look_like_those_of_gcc_and_all_are_told() -> None:
    with pytest.raises(DescriptionError) as caught:
        understood("x.so\n@y.so\nfirst:second:third\n#%tls:place:0:hello\n")
    assert [str(each) for each in caught.value.diagnostics] == [
        "x.dsc:3:14: error: expected old_function:new_function\nfirst:second:third\n             ^~~~~\n",
        "x.dsc:4:15: error: expected an offset, a hexadecimal number of at most 64 bits\n"
        "#%tls:place:0:hello\n              ^~~~~\n",
    ]
    assert caught.value.sentence.endswith("(and 1 more)")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "x.dsc").write_text(GOOD)
    assert read(str(tmp_path / "x.dsc")).functions
    with pytest.raises(NoInputError):
        read(str(tmp_path / "absent.dsc"))
    with pytest.raises(BadDataError, match="a directory"):
        read(str(tmp_path))


LINES = st.sampled_from(
    ["x.so", "@y", "@", "f:g", "f:", ":", "#v:p", "#%v:p:1:2", "#", "*d", "!c", "", "!\0", "\udcff", "::"]
)


@given(st.one_of(st.lists(LINES).map("\n".join), st.text()))
def test_anything_is_understood_or_refused(text: str) -> None:
    data = text.encode(
        "utf-8", "surrogatepass" if "\ud800" <= max(text, default="") <= "\udbff" else "surrogateescape"
    )
    try:
        parse(data, path="x.dsc")
    except DescriptionError as error:
        assert all(str(each) for each in error.diagnostics)


@settings(max_examples=200)
@given(st.binary())
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    try:
        parse(data, path="x.dsc")
    except DescriptionError as error:
        assert error.sentence


def test_many_functions_take_no_time() -> None:
    text = "x\n@y\n" + "".join(f"f{number}:g{number}\n" for number in range(20000))
    started = time.process_time()
    assert len(understood(text).functions) == 20000
    assert time.process_time() - started < 5
