# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of --usage: every option and word of a command in a few lines, as argp_usage(3) writes them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from host.arguments import value_name, word_form
from host.terminal import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_INDENT: Final = 12  # columns before what continues a line


def usage(parser: argparse.ArgumentParser, *, width: int, words: Iterable[str] = ()) -> str:
    """Return the short usage of a command in lines of at most ``width`` columns; ``words`` follow its own."""
    lines = [f"Usage: {parser.prog}"]
    for piece in (*_pieces(parser), *words):
        if columns(lines[-1]) + 1 + columns(piece) > width:
            lines.append(" " * (_INDENT - 1))
        lines[-1] += f" {piece}"
    return "\n".join(lines) + "\n"


def _pieces(parser: argparse.ArgumentParser) -> Iterator[str]:
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = [(action, option) for action in shown for option in action.option_strings]
    short = [(action, option) for action, option in options if not option.startswith("--")]
    flags = "".join(option[1:] for action, option in short if action.nargs == 0)
    if flags:
        yield f"[-{flags}]"
    yield from (f"[{option} {value_name(action)}]" for action, option in short if action.nargs != 0)
    for action, option in options:
        if option.startswith("--"):
            yield f"[{option}]" if action.nargs == 0 else f"[{option}={value_name(action)}]"
    yield from (word_form(action) for action in shown if not action.option_strings)
