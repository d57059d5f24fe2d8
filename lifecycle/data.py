# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when packages are maintained, as the lifecycle data files say.

For each installed product P the files P.lifecycle in the three folders are read, one line after the other:

    name,version,date[,successor]

with blanks around the fields, ``#`` comments and CSV quotes. The name may hold ``*`` or be a ``/regular
expression/``, the version may hold ``*`` and is compared with VERSION-RELEASE as text. The date is
YYYY-MM-DD and may be empty if there is a successor: a package that replaces this one, named in the same three
ways. In it <1> stands for the first ``*`` or group of the name, <0> for the whole name. The last line that
matches a package counts. (Format: zypper-lifecycle-plugin, as its data packages use it.)
"""

from __future__ import annotations

import csv
import datetime
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from host.errors import BadDataError
from lifecycle.ends import parse_date
from lifecycle.patterns import Stopwatch, TooLongError, match_wildcard

FOLDERS = ("var/lib/lifecycle/data", "usr/lib/lifecycle/data", "usr/share/lifecycle/data")
EXPRESSIONS = 1.0  # seconds of computing time that all regular expressions may use

_LARGEST = 16 << 20  # bytes of a file
_BEHIND = "\U0010ffff"  # sorts behind every letter of a name
_FASTER = "write it without repetitions inside of repetitions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a data file."""

    name: str  # as written: a name, a wildcard or a /regular expression/
    version: str  # as written: VERSION-RELEASE or a wildcard
    date: datetime.date | None  # the first day without support; None: when the successor is there
    successor: str = ""
    path: str = ""
    number: int = 0
    expression: re.Pattern[str] | None = None

    @property
    def place(self) -> str:
        """Where the line is, for messages."""
        return f"{self.path}:{self.number}"

    def matches_version(self, editions: Iterable[str]) -> bool:
        """Tell whether the line is about one of these ways to write a package's version."""
        return any(match_wildcard(self.version, edition) is not None for edition in editions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Successor:
    """What replaces a package."""

    line: Line
    pattern: str  # a name, a wildcard or a /regular expression/, filled in

    @property
    def name(self) -> str | None:
        """The one name that it can have, if it is no pattern."""
        return None if "*" in self.pattern or _is_expression(self.pattern) else self.pattern


@dataclass(slots=True)
class Data:
    """All lines that were read, and what was wrong with others."""

    problems: list[str] = field(default_factory=list)
    _lines: list[Line] = field(default_factory=list)
    _by_name: dict[str, list[int]] = field(default_factory=dict)
    _patterns: list[int] = field(default_factory=list)  # positions of lines whose name is a pattern
    # For each name that was looked up the lines that match it, and what their patterns' groups hold
    _matches: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)
    _stopwatch: Stopwatch = field(default_factory=lambda: Stopwatch(EXPRESSIONS))

    def find(self, name: str, *editions: str) -> Line | None:
        """Return the line that counts for the package ``name``, whose version can be written in these ways.

        Raises BadDataError if a regular expression takes too long.
        """
        return next((line for line, _ in self._about(name, editions)), None)

    def successor(self, name: str, *editions: str) -> Successor | None:
        """Return what the last line that names a successor of the package says; raises BadDataError."""
        for line, groups in self._about(name, editions):
            if line.successor:
                return Successor(line=line, pattern=_fill_in(line.successor, (name, *groups)))
        return None

    def matching(self, successor: Successor, names: Iterable[str]) -> list[str]:
        """Return those of the names that the successor can have; raises BadDataError."""
        pattern = successor.pattern
        if not _is_expression(pattern):
            return [name for name in names if match_wildcard(pattern, name) is not None]
        what = f"{successor.line.place}: the successor {pattern}"
        try:
            return list(self._stopwatch.search(self._stopwatch.compile(pattern[1:-1]), names))
        except re.error as error:
            raise BadDataError(f"{what} is no regular expression: {error}") from None
        except TooLongError:
            raise BadDataError(f"{what} takes too long to match", hint=_FASTER) from None

    def look_up(self, names: Iterable[str]) -> None:
        """Match many names at once, which is faster than one after the other; raises BadDataError."""
        new = sorted(set(names) - self._matches.keys())
        self._matches.update((name, [(at, ()) for at in self._by_name.get(name, ())]) for name in new)
        for position in self._patterns:
            for name, groups in self._match(self._lines[position], new):
                self._matches[name].append((position, groups))

    def _match(self, line: Line, names: list[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
        if line.expression is not None:
            try:
                return self._stopwatch.search(line.expression, names).items()
            except TooLongError:
                raise BadDataError(
                    f"{line.place}: the regular expression {line.name} takes too long to match", hint=_FASTER
                ) from None
        beginning = line.name.partition("*")[0]
        first, behind = bisect_left(names, beginning), bisect_left(names, beginning + _BEHIND)
        matched = ((name, match_wildcard(line.name, name)) for name in names[first:behind])
        return [(name, groups) for name, groups in matched if groups is not None]

    def _about(self, name: str, editions: tuple[str, ...]) -> Iterator[tuple[Line, tuple[str, ...]]]:
        """Yield the lines about a package and what their patterns' groups hold, the last line first."""
        if name not in self._matches:
            self.look_up([name])
        for position, groups in sorted(self._matches[name], reverse=True):
            line = self._lines[position]
            if line.matches_version(editions):
                yield line, groups

    def add(self, path: str, content: bytes) -> None:
        """Read the lines of a file; a line that is wrong is left out and told in ``problems``."""
        for number, raw in enumerate(content.split(b"\n"), start=1):
            try:
                line = self._parse(raw, path, number)
            except ValueError as error:
                self.problems.append(f"{path}:{number}: {error}")
                continue
            if line is None:
                continue
            is_pattern = line.expression is not None or "*" in line.name
            where = self._patterns if is_pattern else self._by_name.setdefault(line.name, [])
            where.append(len(self._lines))
            self._lines.append(line)

    def _parse(self, raw: bytes, path: str, number: int) -> Line | None:
        """Return what the line says, None if it says nothing; raises ValueError with what is wrong."""
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            raise ValueError("this is not UTF-8") from None
        if not text or text.startswith("#"):
            return None
        try:
            fields = [each.strip() for each in next(csv.reader([text], strict=True, skipinitialspace=True))]
        except csv.Error as error:
            raise ValueError(f"this is not CSV: {error}") from None
        if len(fields) not in (3, 4):
            raise ValueError(
                f"a line has three or four fields, name,version,date[,successor], not {len(fields)}"
            )
        name, version, date, successor = (*fields, "")[:4]
        if not name or not version:
            raise ValueError(f"the {'version' if name else 'name'} is missing")
        if not date and not successor:
            raise ValueError("there is neither a date nor a successor")
        return Line(
            name=name,
            version=version,
            date=parse_date(date) if date else None,
            successor=successor,
            path=path,
            number=number,
            expression=self._compile(name),
        )

    def _compile(self, name: str) -> re.Pattern[str] | None:
        if not _is_expression(name):
            return None
        try:
            return self._stopwatch.compile(name[1:-1])
        except re.error as error:
            raise ValueError(f"{name} is no regular expression: {error}") from None
        except TooLongError:
            raise ValueError(f"the regular expression {name} takes too long to compile") from None


def read_data(products: Iterable[str], *, root: str | os.PathLike[str] = "/") -> Data:
    """Read the data files of the products, by their names; a file that cannot be read is a problem, too."""
    data = Data()
    for path in _files(products, Path(root)):
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            data.problems.append(f"{path} cannot be read: {error.strerror}")
            continue
        if len(content) > _LARGEST:
            data.problems.append(f"{path} is larger than {_LARGEST >> 20} MiB and was left out")
            continue
        data.add(str(path), content)
    return data


def _files(products: Iterable[str], root: Path) -> Iterator[Path]:
    for product in dict.fromkeys(products):
        if "/" in product:  # it would lead elsewhere
            continue
        paths = (root / folder / f"{product}.lifecycle" for folder in FOLDERS)
        yield from (path for path in paths if path.is_file())


def _is_expression(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def _fill_in(successor: str, groups: tuple[str, ...]) -> str:
    quote = re.escape if _is_expression(successor) else str

    def group(match: re.Match[str]) -> str:
        number = int(match[1])
        return quote(groups[number]) if number < len(groups) else ""

    return re.sub(r"<([0-9])>", group, successor)
