# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for man pages: every character ends up on paper as it is, whatever roff would make of it.

Language: groff_man(7), groff_char(7). Only what mandoc(1) understands, too.
"""

from __future__ import annotations

import re

_ESCAPES = {"\\": "\\(rs", "'": "\\(aq", '"': "\\(dq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_UNBROKEN = "\\%"  # at the beginning of a word
_OPTION = re.compile(r"([('\[]*)(--?[A-Za-z?][\w-]*)(.*)")
_TYPED = re.compile(r"[/_=*]|^\W*-")  # in a word that somebody types, and not only reads


def verbatim(text: str) -> str:
    """Return text that can be copied from the page: a minus stays one and becomes no hyphen."""
    return _characters(text).replace("-", "\\-")


def prose(text: str) -> str:
    """Return a paragraph in one line: options are bold, blanks are one each."""
    return _line(" ".join(_word(word) for word in text.split()))


def bold(text: str) -> str:
    """Return the text, as it can be copied, in bold."""
    return f"\\fB{verbatim(text)}\\fR"


def italic(text: str) -> str:
    """Return the text, as it can be copied, in italics: a word that stands for another."""
    return f"\\fI{verbatim(text)}\\fR"


def example(lines: list[str]) -> list[str]:
    """Return lines that stay as they are."""
    return [".RS 4", ".EX", *(_line(verbatim(line)) for line in lines), ".EE", ".RE"]


def item(tag: str, text: str) -> list[str]:
    """Return one entry of a list; the tag is roff already."""
    return [".TP", tag, prose(text)]


def _characters(text: str) -> str:
    return "".join(_ESCAPES.get(each, each) if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)


def _line(text: str) -> str:
    return f"\\&{text}" if text.startswith((".", " ")) else text


def _word(word: str) -> str:
    option = _OPTION.fullmatch(word)
    if option:
        before, name, after = option.groups()
        return f"{_UNBROKEN}{verbatim(before)}{bold(name)}{verbatim(after)}"
    return _UNBROKEN + verbatim(word) if _TYPED.search(word) else _characters(word)
