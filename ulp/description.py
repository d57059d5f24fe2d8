# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions of live patches (``.dsc``): which functions of which library a container is to replace.

Line by line, as in libpulp; blank lines count for nothing::

    ! text for people, kept in the container      anywhere
    /path/container.so                            the first other line
    *dependency                                   any number: a container or an old .ulp file
    @/path/target                                 once: a library, a program, or the JSON of ulp extract
    old_function:new_function
    #variable:reference[:target_offset:container_offset]     offsets in hexadecimal
    #%variable:reference[:...]                               thread-local
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import Final

from host.errors import BadDataError
from host.files import read_regular

SIZE_LIMIT: Final = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """Something that a description says, and where."""

    text: str
    line: int  # from 1
    column: int  # from 1, in characters
    source: str  # the whole line


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """``old:new``."""

    old: Word
    new: Word


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """``#target:patch``; the offsets are None where the symbols tell them."""

    target: Word
    patch: Word
    tls: bool
    offsets: tuple[int, int] | None = None  # in the target, in the container


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnostic:
    """One mistake in a description."""

    path: str
    word: Word
    message: str

    def __str__(self) -> str:
        """The mistake in the form of gcc's errors: place and message, the line, a mark below the word."""
        place = f"{self.path}:{self.word.line}:{self.word.column}"
        mark = " " * (self.word.column - 1) + "^" + "~" * (len(self.word.text) - 1)
        return f"{place}: error: {self.message}\n{self.word.source}\n{mark}\n"


class DescriptionError(BadDataError):
    """A description with mistakes; all that were found are in ``diagnostics``."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        first = diagnostics[0]
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(f"{first.path}:{first.word.line}:{first.word.column}: {first.message}{more}")
        self.diagnostics = diagnostics


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """A description that is well formed; whether files and symbols exist is another question."""

    path: str
    data: bytes  # the file: a part of the patch id is made of it
    container: Word
    target: Word
    dependencies: tuple[Word, ...]
    functions: tuple[Function, ...]
    variables: tuple[Variable, ...]
    comments: str  # bytes that are not UTF-8 are surrogates


def read(path: str) -> Description:
    """Read a description; raises NoInputError, NotPermittedError, BadDataError or DescriptionError."""
    return parse(read_regular(path, limit=SIZE_LIMIT), path=path)


def parse(data: bytes, *, path: str) -> Description:
    """Read a description from the bytes of its file; raises DescriptionError with all mistakes."""
    parser = _Parser(path)
    for number, line in enumerate(StringIO(data.decode("utf-8", "surrogateescape"), newline="\n"), start=1):
        parser.take(number, line)
    return parser.finish(data)


class _Parser:
    """Takes line after line; goes on after a mistake, so that an author sees all of them at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.number, self.source = 1, ""
        self.mistakes: list[Diagnostic] = []
        self.comments: list[str] = []
        self.container: Word | None = None
        self.target: Word | None = None
        self.dependencies: list[Word] = []
        self.functions: list[Function] = []
        self.replaced: dict[str, int] = {}  # old function to the line that replaces it
        self.variables: list[Variable] = []

    def take(self, number: int, line: str) -> None:
        """Read one line, with its newline."""
        self.number, self.source = number, line.rstrip(" \t\r\n")
        if line.startswith("!"):
            self._comment(line)
        elif not self.source:
            pass
        elif not self.source.isprintable():
            self._mistake(self._word(self.source, 1), "unprintable characters, or not UTF-8")
        elif self.container is None:
            self.container = self._word(self.source, 1)
            if self.source[0] in "@*#":
                self._mistake(self.container, "the path of the live patch must come first")
        elif self.source[0] == "@":
            self._target(self._word(self.source[1:], 2))
        elif self.source[0] == "*":
            self.dependencies.append(self._word(self.source[1:], 2))
        elif self.source[0] == "#":
            self._variable(self.source)
        else:
            self._function(self.source)

    def finish(self, data: bytes) -> Description:
        """Return all that was read, or raise all mistakes."""
        end = self._word("", 1)
        if not self.mistakes:
            if self.container is None:
                self._mistake(end, "the path of the live patch is missing")
            elif self.target is None:
                self._mistake(end, "the target is missing: a line with '@' and its path")
        if self.mistakes or self.container is None or self.target is None:
            raise DescriptionError(tuple(self.mistakes))
        return Description(
            path=self.path,
            data=data,
            container=self.container,
            target=self.target,
            dependencies=tuple(self.dependencies),
            functions=tuple(self.functions),
            variables=tuple(self.variables),
            comments="".join(self.comments),
        )

    def _word(self, text: str, column: int) -> Word:
        return Word(text=text, line=self.number, column=column, source=self.source)

    def _mistake(self, word: Word, message: str) -> None:
        self.mistakes.append(Diagnostic(path=self.path, word=word, message=message))

    def _comment(self, line: str) -> None:
        if "\0" in line:
            self._mistake(self._word("", line.index("\0") + 1), "a NUL in a comment")
        self.comments.append(line[1:])

    def _target(self, word: Word) -> None:
        if self.target is not None:
            self._mistake(word, f"a second target; the first is in line {self.target.line}")
        elif not word.text:
            self._mistake(word, "the path of the target is missing")
        else:
            self.target = word

    def _words(self, text: str, column: int) -> list[Word]:
        words = []
        for part in text.split(":"):
            words.append(self._word(part, column))
            column += len(part) + 1
        return words

    def _expected(self, words: list[Word], count: int, form: str) -> bool:
        empty = next((word for word in words if not word.text), None)
        if len(words) == count and not empty:
            return True
        self._mistake(empty or words[-1], f"expected {form}")
        return False

    def _function(self, line: str) -> None:
        words = self._words(line, 1)
        if not self._expected(words, 2, "old_function:new_function"):
            return
        old, new = words
        earlier = self.replaced.setdefault(old.text, self.number)
        if earlier != self.number:
            self._mistake(old, f"function {old.text} was already replaced in line {earlier}")
        self.functions.append(Function(old=old, new=new))

    def _variable(self, line: str) -> None:
        start = 2 if line.startswith("#%") else 1
        words = self._words(line[start:], start + 1)
        form = f"{line[:start]}variable:reference[:target_offset:container_offset]"
        if not self._expected(words, 4 if len(words) > 2 else 2, form):
            return
        offsets = [self._offset(word) for word in words[2:]]
        self.variables.append(
            Variable(
                target=words[0],
                patch=words[1],
                tls=start == 2,
                offsets=(offsets[0], offsets[1]) if offsets else None,
            )
        )

    def _offset(self, word: Word) -> int:
        try:
            value = int(word.text, 16)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 64:
            self._mistake(word, "expected an offset, a hexadecimal number of at most 64 bits")
        return value
