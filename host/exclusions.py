# SPDX-License-Identifier: GPL-2.0-or-later
"""What the administrator has exempted from live patches that are applied by themselves.

``/etc/zypp-livepatch/exclude.d/*.conf`` (and /run, /usr/etc, as host/config.py finds files), one rule a line:

    # a comment
    path = /opt/legacy/bin/*          the program, as /proc/PID/exe names it
    unit = postgresql*.service        a systemd unit, slice or scope that the process is in
    user = oracle                     real or effective user, by name or number
    package = openssl-1_1-livepatches a live patch package, or the package that the program belongs to

Patterns are those of fnmatch(3), but for users. An exemption that cannot be read might be for any process, so whoever
acts by himself does not act at all then.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from host import procfs
from host.config import ConfigError, files
from host.errors import Error
from host.files import read_regular

NAME: Final = "zypp-livepatch/exclude"
DIRECTORY: Final = f"etc/{NAME}.d"
KINDS: Final = ("path", "unit", "user", "package")
_LARGEST: Final = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One line of a file."""

    kind: str  # one of KINDS
    pattern: str
    file: str
    line: int

    @property
    def sentence(self) -> str:
        """What is said of whom it exempts."""
        return f"left out by {self.file}, line {self.line}: {self.kind} = {self.pattern}"


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    """All rules of a system."""

    rules: tuple[Rule, ...] = ()
    programs: Mapping[str, frozenset[str]] = field(default_factory=dict)  # the files of packages, by pattern

    def process(self, pid: int) -> str:
        """Return why a process is exempted, "" if it is not or is gone."""
        facts: dict[str, tuple[str, ...]] = {}
        for rule in self.rules:
            if rule.kind not in facts:
                facts[rule.kind] = self._facts(rule.kind, pid)
            if rule.kind == "package":
                matches = not self.programs[rule.pattern].isdisjoint(facts["package"])
            elif rule.kind == "user":
                matches = rule.pattern in facts["user"]
            else:
                matches = any(fnmatch.fnmatchcase(fact, rule.pattern) for fact in facts[rule.kind])
            if matches:
                return rule.sentence
        return ""

    def package(self, name: str) -> str:
        """Return why the live patches of a package are exempted, "" if they are not."""
        return next(
            (
                rule.sentence
                for rule in self.rules
                if rule.kind == "package" and fnmatch.fnmatchcase(name, rule.pattern)
            ),
            "",
        )

    def _facts(self, kind: str, pid: int) -> tuple[str, ...]:
        """Return what a process has of a kind; nothing where it is gone."""
        try:
            if kind in ("path", "package"):
                return (os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"),)
            if kind == "unit":
                return tuple(_units(procfs.read(f"/proc/{pid}/cgroup")))
            return tuple(_users(procfs.status(pid).get("Uid", "").split()[:2]))
        except OSError:
            return ()


def load(*, root: str = "/") -> Exclusions:
    """Read the rules of a system; raises ConfigError for the first thing that is wrong, and DatabaseError."""
    rules = tuple(rule for path in files(NAME, root=root) for rule in _read(str(path)))
    patterns = [rule.pattern for rule in rules if rule.kind == "package"]
    if not patterns:
        return Exclusions(rules=rules)
    from host import rpmdb

    programs = {
        pattern: frozenset(file.path for package in packages for file in package.files)
        for pattern, packages in rpmdb.matching(patterns, root=root).items()
    }
    return Exclusions(rules=rules, programs=programs)


def _read(path: str) -> Iterator[Rule]:
    try:
        text = read_regular(path, limit=_LARGEST).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8") from error
    except Error as error:
        raise ConfigError(error.sentence, hint=error.hint) from error
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.strip()
        if words and not words.startswith(("#", ";")):
            yield _rule(path, number, words)


def _rule(path: str, number: int, words: str) -> Rule:
    kind, equals, pattern = (part.strip() for part in words.partition("="))
    where = f"{path}, line {number}"
    hint = f"A line is {', '.join(KINDS[:-1])} or {KINDS[-1]}, '=', and a pattern; correct it or delete it."
    if not equals or kind not in KINDS:
        raise ConfigError(f"{where}: {words!r:.80} is no rule", hint=hint)
    if not pattern or not pattern.isprintable():
        raise ConfigError(f"{where}: {kind} = {pattern!r:.80} is no pattern", hint=hint)
    if kind == "path" and not pattern.startswith(("/", "*")):
        raise ConfigError(f"{where}: path = {pattern!r:.80} is no absolute path", hint=hint)
    return Rule(kind=kind, pattern=pattern, file=path, line=number)


def _units(cgroup: bytes) -> Iterator[str]:
    """Yield the parts of a process's control group that systemd names (cgroups(7): ``0::/a.slice/b.service``)."""
    for line in os.fsdecode(cgroup).split("\n"):
        yield from filter(None, line.split(":", 2)[-1].split("/"))


def _users(numbers: list[str]) -> Iterator[str]:
    """Yield the numbers and names of users."""
    import pwd

    for number in numbers:
        yield number
        try:
            yield pwd.getpwuid(int(number)).pw_name
        except (KeyError, ValueError):
            pass
