# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written elsewhere for people and goes into man pages: docstrings and docs/exit-status.md."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

EXIT_STATUS = "Exit status"
EXAMPLES = "Examples"

_EXIT_STATUSES = Path(__file__).parents[1] / "docs/exit-status.md"
_COLUMN = re.compile(r"(?<!\\)\|")
_ROW = re.compile(r"(\S+) {2,}(\S.*)")


class Block(NamedTuple):
    """A piece of a description; of ``text``, ``rows`` and ``lines`` one is there."""

    title: str  # EXIT_STATUS, EXAMPLES, another, or "" where there is none
    text: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()  # as they are written


def blocks(written: Iterable[str]) -> list[Block]:
    """Return what the blocks of a docstring are (host.arguments.Parser.description_blocks)."""
    return [_block(block.splitlines()) for block in written]


def exit_statuses() -> list[tuple[str, str]]:
    """Return the statuses that all programs share, and what they mean."""
    table = _EXIT_STATUSES.read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [_COLUMN.split(line)[1:-1] for line in table.splitlines() if line.startswith("| ")]
    return [
        (status.strip(), meaning.strip().replace("`", "").replace("\\|", "|"))
        for status, _, meaning in rows
        if status.strip().isdigit()
    ]


def _block(lines: list[str]) -> Block:
    if not any(line.startswith((" ", "* ")) for line in lines):
        text = " ".join(lines)
        said = text.removeprefix(f"{EXIT_STATUS}: ")
        return Block("" if said == text else EXIT_STATUS, text=said)
    title = lines[0][:-1] if lines[0][0] not in " *" and lines[0].endswith(":") else ""
    body = textwrap.dedent("\n".join(lines[1:] if title else lines)).splitlines()
    rows: list[tuple[str, str]] = []
    for line in body:
        row = _ROW.fullmatch(line)
        if row:
            rows.append((row[1], row[2]))
        elif rows and line.startswith(" "):  # goes on
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        else:
            return Block(title, lines=tuple(body))
    return Block(title, rows=tuple(rows))
