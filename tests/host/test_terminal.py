# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours, sanitized text, tables, and the progress bar on a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.terminal import columns, paint, sanitize, table, wrap


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx: worker process", "nginx: worker process"),
        ("", ""),
        ("caf\u00e9 \u4e2d\u6587", "caf\u00e9 \u4e2d\u6587"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\nPID: 1, name: init", r"a\x0aPID: 1, name: init"),
        ("a\rb\tc\x7f", r"a\x0db\x09c\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("exe\u202egpj.sh", r"exe\u202egpj.sh"),
        ("\u2066x\u2069\u200b\u2028", r"\u2066x\u2069\u200b\u2028"),
        (os.fsdecode(b"\xff\xfe.so"), r"\xff\xfe.so"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_sanitize_makes_visible_what_could_act(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_sanitized_text_is_printable_encodable_and_stays(text: str) -> None:
    shown = sanitize(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert sanitize(shown) == shown


def test_color_follows_the_stream_the_environment_and_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert paint(stream=Screen()).good("x") == "\x1b[32;1mx\x1b[0m"
    assert paint(stream=io.StringIO()).good("x") == "x"
    assert paint("yes", stream=io.StringIO()).bad("x") == "\x1b[31;1mx\x1b[0m"
    assert paint("no", stream=Screen()).warn("x") == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert paint(stream=Screen()).good("x") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint(stream=Screen()).good("x") == "x"
    assert paint("yes", stream=Screen()).strong("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "")  # no-color.org: only when not empty
    assert paint(stream=Screen()).good("x") != "x"


def test_a_closed_stream_has_no_color() -> None:
    stream = io.StringIO()
    stream.close()
    assert not paint(stream=stream).on


def test_columns_of_wide_and_combining_characters() -> None:
    assert [columns(text) for text in ("abc", "\u4e2d\u6587", "e\u0301", "")] == [3, 4, 1, 0]


ROWS = [("1", "init", "left out"), ("31415", "java", "a thread is inside a function that is to change")]


def test_a_table_is_aligned() -> None:
    assert table(ROWS, heads=("PID", "NAME", "WHY"), right=[0]) == (
        "  PID  NAME  WHY\n"
        "    1  init  left out\n"
        "31415  java  a thread is inside a function that is to change\n"
    )


def test_a_table_wraps_its_widest_column_to_fit() -> None:
    assert table(ROWS, heads=("PID", "NAME", "WHY"), width=36) == (
        "PID    NAME  WHY\n"
        "1      init  left out\n"
        "31415  java  a thread is inside a\n"
        "             function that is to\n"
        "             change\n"
    )


def test_a_table_paints_cells_after_padding() -> None:
    text = table([("a", "b")], heads=("HEAD", "X"), style=lambda at, cell: f"<{cell}>" if at == 0 else cell)
    assert text == "HEAD  X\n<a   >  b\n"


def test_cells_are_sanitized_and_measured_as_shown() -> None:
    assert table([("\x1b[1m", "x"), ("\u4e2d\u6587", "y")], heads=("A", "B")) == (
        "A        B\n\\x1b[1m  x\n\u4e2d\u6587     y\n"
    )


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=5), st.integers(14, 60))
def test_no_line_of_a_table_is_wider_than_asked(rows: list[tuple[str, str]], width: int) -> None:
    lines = table(rows, heads=("ONE", "TWO"), width=width).splitlines()
    assert all(columns(line) <= width for line in lines)


@given(st.text(alphabet="ab \u4e2d"), st.integers(2, 20))
def test_wrap_keeps_every_character_but_blanks(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(columns(line) <= width for line in lines)


SLOW = """
    import sys, time
    from host.terminal import progress
    with progress("Patch\\x1bing [bold]") as update:
        for done in range(1, 4):
            time.sleep({pause})
            update(done, 3, label="" if done < 3 else "La\\x1bst")
    print("rich" in sys.modules)
"""


def test_a_pipe_sees_no_progress_bar() -> None:
    code = textwrap.dedent(SLOW.format(pause=0.15))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("False\n", "")


WITHOUT_RICH = "import sys\nsys.modules['rich'] = None"


@pytest.mark.parametrize(
    ("first", "pause", "bar"), [("", 0.2, True), ("", 0.001, False), (WITHOUT_RICH, 0.2, False)]
)
def test_a_person_sees_a_bar_when_it_takes_longer_than_a_moment(first: str, pause: float, bar: bool) -> None:
    main, other = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        code = first + textwrap.dedent(SLOW.format(pause=pause))
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=other, env=environment, timeout=20
        )
        os.close(other)
        other = -1
        shown = _drain(main)
    finally:
        os.close(main)
        if other >= 0:
            os.close(other)
    assert done.stdout == f"{bar or bool(first)}\n".encode()
    assert (rb"Patch\x1bing [bold]" in shown) == bar
    assert (rb"La\x1bst" in shown, b"3/3" in shown) == (bar, bar)
    assert b"\x1bing" not in shown


def _drain(descriptor: int) -> bytes:
    shown = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # EIO: the other side is closed
            return shown
        if not piece:
            return shown
        shown += piece
