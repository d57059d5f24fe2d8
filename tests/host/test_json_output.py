# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON envelope, and text that JSON cannot carry."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.json_output import document, dumps, write


def test_the_envelope_comes_first() -> None:
    assert list(document("patches", {"processes": []})) == ["schema", "version", "processes"]
    assert document("patches", {})["schema"] == "zypp-livepatch/patches"
    assert document("report", {}, version=3)["version"] == 3


def test_a_pipe_gets_one_line_and_a_terminal_gets_indentation() -> None:
    pipe = io.StringIO()
    write("x", {"a": [1]}, stream=pipe)
    assert pipe.getvalue() == '{"schema": "zypp-livepatch/x", "version": 1, "a": [1]}\n'

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    write("x", {"a": [1]}, stream=screen)
    assert len(screen.getvalue().splitlines()) > 3
    assert json.loads(screen.getvalue()) == json.loads(pipe.getvalue())


def test_bytes_that_are_no_utf8_become_visible() -> None:
    value = {os.fsdecode(b"k\xff"): [(os.fsdecode(b"/lib/\xfe.so"), "\U0001f600", 1, None)]}
    assert json.loads(dumps(value)) == {r"k\xff": [[r"/lib/\xfe.so", "\U0001f600", 1, None]]}


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_every_text_becomes_ascii_that_a_strict_parser_takes(text: str) -> None:
    encoded = dumps({"name": text})
    assert encoded.isascii() and encoded.isprintable()
    json.loads(encoded)["name"].encode("utf-8")


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(float("nan"))
