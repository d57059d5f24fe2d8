# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when packages are maintained, as the lifecycle data files say.

For each installed product P the files P.lifecycle in the three folders are read, one line after the other:

    name,version,date[,successor]

with blanks around the fields, ``#`` comments and CSV quotes. The name may hold ``*`` or be a ``/regular
expression/``, the version may hold ``*`` and is compared with VERSION-RELEASE as text. The date is
YYYY-MM-DD and may be empty if there is a successor, in which <1> stands for the first ``*`` or group of
the name. The last line that matches a package counts. (Format: zypper-lifecycle-plugin, as its data
packages use it.)
"""

from __future__ import annotations

import csv
import datetime
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from host.errors import BadDataError
from lifecycle.patterns import Stopwatch, TooLongError, match_wildcard

FOLDERS = ("var/lib/lifecycle/data", "usr/lib/lifecycle/data", "usr/share/lifecycle/data")
EXPRESSIONS = 1.0  # seconds of computing time that all regular expressions may use

_LARGEST = 16 << 20  # bytes of a file


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

    def matches_version(self, edition: str) -> bool:
        """Tell whether the line is about this VERSION-RELEASE."""
        return match_wildcard(self.version, edition) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndOfSupport:
    """What the data files say about one package."""

    line: Line
    successor: str  # the name, filled in

    @property
    def date(self) -> datetime.date | None:
        """The first day without support."""
        return self.line.date


@dataclass(slots=True)
class Data:
    """All lines that were read, and what was wrong with others."""

    problems: list[str] = field(default_factory=list)
    _lines: list[Line] = field(default_factory=list)
    _by_name: dict[str, list[int]] = field(default_factory=dict)
    _patterns: list[int] = field(default_factory=list)  # positions of lines whose name is a pattern
    _stopwatch: Stopwatch = field(default_factory=lambda: Stopwatch(EXPRESSIONS))

    def find(self, name: str, edition: str) -> EndOfSupport | None:
        """Return what is said about the package ``name`` in the edition VERSION-RELEASE.

        Raises BadDataError if a regular expression takes too long.
        """
        positions = self._by_name.get(name, []) + self._patterns
        for position in sorted(positions, reverse=True):
            line = self._lines[position]
            groups = self._match(line, name)
            if groups is not None and line.matches_version(edition):
                return EndOfSupport(line=line, successor=_fill_in(line.successor, groups))
        return None

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
        if not (len(name) > 2 and name.startswith("/") and name.endswith("/")):
            return None
        try:
            return self._stopwatch.compile(name[1:-1])
        except re.error as error:
            raise ValueError(f"{name} is no regular expression: {error}") from None
        except TooLongError:
            raise ValueError(f"the regular expression {name} takes too long to compile") from None

    def _match(self, line: Line, name: str) -> tuple[str, ...] | None:
        if line.expression is None:
            return match_wildcard(line.name, name)
        try:
            return self._stopwatch.search(line.expression, name)
        except TooLongError:
            raise BadDataError(
                f"{line.place}: matching the regular expression {line.name} with {name} takes too long",
                hint="write it without repetitions inside of repetitions",
            ) from None


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


def parse_date(text: str) -> datetime.date:
    """Return the date that is written as YYYY-MM-DD; raises ValueError."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return datetime.date.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError(f"'{text}' is no date: write YYYY-MM-DD")


def _fill_in(successor: str, groups: tuple[str, ...]) -> str:
    def group(match: re.Match[str]) -> str:
        number = int(match[1])
        return groups[number - 1] if 1 <= number <= len(groups) else ""

    return re.sub(r"<([0-9])>", group, successor)
