# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees: colours, text that cannot harm a terminal, tables that fit it, and progress."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress

COLOR_CHOICES = ("auto", "yes", "no")

_GAP = "  "  # between the columns of a table
_NARROWEST = 6  # columns of a terminal that a table's column keeps


class Paint:
    """Wraps text in colours, or leaves it alone; the colours are those that users of ulp and klp know."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def good(self, text: str) -> str:
        """Return the text in green."""
        return self._wrap("32;1", text)

    def warn(self, text: str) -> str:
        """Return the text in yellow."""
        return self._wrap("33;1", text)

    def bad(self, text: str) -> str:
        """Return the text in red."""
        return self._wrap("31;1", text)

    def strong(self, text: str) -> str:
        """Return the text in bold."""
        return self._wrap("1", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def paint(choice: str = "auto", *, stream: TextIO | None = None) -> Paint:
    """Return the paint for one stream (standard output unless given).

    ``auto`` colours a terminal unless NO_COLOR (https://no-color.org) is set or TERM is ``dumb``; ``yes``
    and ``no`` decide.
    """
    if choice != "auto":
        return Paint(on=choice == "yes")
    return Paint(on=is_terminal(stream or sys.stdout) and not os.environ.get("NO_COLOR"))


def is_terminal(stream: TextIO) -> bool:
    """Say whether the stream ends at a terminal that understands more than lines."""
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except ValueError:  # closed
        return False


def sanitize(text: str) -> str:
    r"""Return the text with every character that could act on a terminal, or mislead a reader, made visible.

    Controls (C0 and C1, ESC among them), bidirectional overrides and other formats, line separators and
    bytes that are no UTF-8 (PEP 383 surrogates) become ``\x1b``, ``\u202e``, ``\xff``. The result has no
    newline.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else visible(character) for character in text)


def visible(character: str) -> str:
    r"""Return one character as an escape: ``\x1b``, ``\u202e``; an undecodable byte as ``\xff``."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that could not be decoded
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def columns(text: str) -> int:
    """Return the columns that the sanitized text takes: wide characters 2, combining marks 0."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Return the width of the stream's terminal, None where lines may be as long as they are."""
    stream = stream or sys.stdout
    if not is_terminal(stream):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def wrap(text: str, width: int) -> list[str]:
    """Break the text into lines of at most the width: at blanks, and longer words anywhere."""
    if columns(text) <= width:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        if line and columns(line) + 1 + columns(word) <= width:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        line = ""
        for character in word:
            if line and columns(line + character) > width:
                lines.append(line)
                line = ""
            line += character
    return [*lines, line]


def table(
    rows: Iterable[Sequence[str]],
    *,
    heads: Sequence[str],
    right: Iterable[int] = (),
    width: int | None = None,
    style: Callable[[int, str], str] | None = None,
) -> str:
    """Return an aligned table, one line a row; where it is wider than ``width``, its widest columns wrap.

    Cells are untrusted and are sanitized. ``right`` names the columns (from 0) of numbers. ``style`` gets
    a column and a piece of one of its cells, already padded, and returns it painted; the heads are column
    -1.
    """
    cells = [[sanitize(cell) for cell in row] for row in (heads, *rows)]
    widths = _fit([max(columns(row[at]) for row in cells) for at in range(len(heads))], width)
    to_the_right = set(right)
    lines: list[str] = []
    for number, row in enumerate(cells):
        wrapped = [wrap(cell, widths[at]) for at, cell in enumerate(row)]
        for part in range(max(map(len, wrapped))):
            pieces = []
            for at, parts in enumerate(wrapped):
                text = parts[part] if part < len(parts) else ""
                blanks = " " * (widths[at] - columns(text))
                last = at == len(row) - 1
                text = blanks + text if at in to_the_right else text if last else text + blanks
                pieces.append(style(-1 if number == 0 else at, text) if style else text)
            lines.append(_GAP.join(pieces).rstrip())
    return "\n".join(lines) + "\n"


def _fit(widths: list[int], limit: int | None) -> list[int]:
    while (
        limit is not None
        and sum(widths) + len(_GAP) * (len(widths) - 1) > limit
        and max(widths) > _NARROWEST
    ):
        widths[widths.index(max(widths))] -= 1
    return widths


class Update(Protocol):
    """What moves a progress bar; it is drawn with the new label if there is one."""

    def __call__(self, done: int, total: int, *, label: str = "") -> None:
        """Say how much of the work is done."""


class progress:
    """A progress bar on standard error, for a person only and when the work takes longer than a moment.

    Entering gives a function ``update(done, total)``, see Update. The bar is drawn inside of its calls: a thread that
    draws would take the interpreter away from an engine that holds a stopped process.
    """

    PATIENCE = 0.3  # seconds of work before a bar appears
    INTERVAL = 0.1  # seconds between two drawings

    def __init__(self, label: str) -> None:
        self._label = sanitize(label)
        self._bar: RichProgress | None = None
        self._next = 0.0

    def __enter__(self) -> Update:
        self._next = time.monotonic() + self.PATIENCE
        return self._update if is_terminal(sys.stderr) else _nothing

    def _update(self, done: int, total: int, *, label: str = "") -> None:
        self._label = sanitize(label) or self._label
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.INTERVAL
        if self._bar is None:
            try:
                self._bar = _rich_bar()
            except ImportError:  # SLE 15 may not have it for the Python that this runs with
                self._next = math.inf
                return
            self._bar.add_task(self._label, total=total)
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0], description=self._label, completed=done, total=total, refresh=True
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _nothing(done: int, total: int, *, label: str = "") -> None:
    pass


def _rich_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
