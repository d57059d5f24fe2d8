# SPDX-License-Identifier: GPL-2.0-or-later
"""zypp's locks: packages that are neither installed, nor updated, nor removed.

/etc/zypp/locks holds lines ``attribute: value``, an empty line between two locks (locks(5) of libzypp, and its
PoolQuery.cc). What a lock means is found with the very matching that libzypp uses: libsolv's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.kinds import is_package

if TYPE_CHECKING:
    import solv

_LARGEST = 1 << 20  # bytes of the file
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "=")
_MODES = ("exact", "substring", "regex", "glob", "word")
_SCOPES = {"all": (True, True), "installed": (True, False), "not-installed": (False, True)}
_SPECIAL = r".[]\()*+?{}^$|"  # in an extended regular expression of POSIX


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """One lock; what is empty restricts nothing."""

    line: int = 0  # the first of it
    kinds: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()  # aliases
    texts: tuple[str, ...] = ()  # that any of the attributes may hold
    attributes: tuple[tuple[str, str], ...] = ()  # libsolv's name of an attribute, and a text for it or ""
    mode: str = "substring"
    case_sensitive: bool = False
    installed: bool = True  # whether it is about installed packages
    available: bool = True  # and about those in repositories
    operator: str = ""
    edition: str = ""

    @property
    def about_packages(self) -> bool:
        """Whether packages can be meant."""
        return not self.kinds or "package" in self.kinds


@dataclass(slots=True)
class Locks:
    """All locks, and sentences about those that could not be understood."""

    locks: list[Lock] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_locks(path: Path) -> Locks:
    """Read zypp's file of locks; a missing one has none, what cannot be read is a problem."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST).decode(errors="replace")
    except FileNotFoundError:
        return Locks()
    except OSError as error:
        return Locks(problems=[f"{path} cannot be read: {error.strerror}"])
    found = Locks()
    for block in _blocks(content):
        lock = Lock(line=block[0][0])
        try:
            for number, name, value in block:
                lock = _with(lock, name, value, f"{path}:{number}")
        except ValueError as error:
            found.problems.append(f"{error}; the lock was left out")
        else:
            found.locks.append(lock)
    return found


def _blocks(content: str) -> Iterator[list[tuple[int, str, str]]]:
    """Yield the lines of each lock with their numbers; anything without a colon ends one."""
    block: list[tuple[int, str, str]] = []
    for number, line in enumerate([*content.split("\n"), ""], start=1):
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if colon:
            block.append((number, name.strip(), value.strip()))
        elif block:
            yield block
            block = []


def _with(lock: Lock, name: str, value: str, place: str) -> Lock:
    if name == "repo":
        return replace(lock, repositories=(*lock.repositories, value))
    if name in ("type", "kind"):
        return replace(lock, kinds=(*lock.kinds, value))
    if name in ("query_string", "global_string"):
        return replace(lock, texts=(*lock.texts, value))
    if name in ("match_type", "string_type"):
        if value not in _MODES:
            raise ValueError(f"{place}: there is no match_type '{value}'")
        return replace(lock, mode=value)
    if name == "case_sensitive":
        return replace(lock, case_sensitive=value.lower() in ("on", "true", "yes", "1"))
    if name == "install_status":
        if value not in _SCOPES:
            raise ValueError(f"{place}: there is no install_status '{value}'")
        installed, available = _SCOPES[value]
        return replace(lock, installed=installed, available=available)
    if name == "version":
        operator, edition = _split(value)
        return replace(lock, operator=operator, edition=edition)
    if name in ("comment", "require_all", ""):
        return lock
    if not name.startswith("solvable_"):
        raise ValueError(f"{place}: there is no attribute '{name}'")
    if name == "solvable_name" and len(words := value.split()) == 3 and words[1] in _OPERATORS:
        lock = replace(lock, operator=words[1].replace("==", "="), edition=words[2])
        value = words[0]
    return replace(lock, attributes=(*lock.attributes, (name.replace("_", ":", 1), value)))


def _split(text: str) -> tuple[str, str]:
    for operator in _OPERATORS:
        if text.startswith(operator):
            return operator.replace("==", "="), text[len(operator) :].strip()
    return "=", text


def locked(pool: solv.Pool, locks: Iterable[Lock]) -> dict[int, Lock]:
    """Return the ids of the pool's packages that are locked, each with a lock that says so."""
    found: dict[int, Lock] = {}
    for lock in locks:
        if lock.about_packages:
            for solvable in _matching(pool, lock):
                if solvable.id not in found and _concerns(lock, solvable):
                    found[solvable.id] = lock
    return found


def _concerns(lock: Lock, solvable: solv.XSolvable) -> bool:
    if not is_package(solvable):
        return False
    installed = solvable.isinstalled()
    if not (lock.installed if installed else lock.available):
        return False
    if lock.repositories and (installed or solvable.repo.name not in lock.repositories):
        return False
    return not lock.operator or _compares(solvable.evr, lock.operator, lock.edition)


def _compares(evr: str, operator: str, edition: str) -> bool:
    from host.rpmdb import compare

    if "-" not in edition:  # any release
        evr = evr.rpartition("-")[0]
    order = compare(evr, edition)
    return {
        "=": order == 0,
        "!=": order != 0,
        "<": order < 0,
        ">": order > 0,
        "<=": order <= 0,
        ">=": order >= 0,
    }[operator]


def _matching(pool: solv.Pool, lock: Lock) -> Iterator[solv.XSolvable]:
    attributes: Sequence[tuple[str, str]] = lock.attributes or [("", "")]
    for attribute, own in attributes:
        texts = [text for text in (*lock.texts, own) if text]
        if not texts and not lock.attributes:
            yield from pool.solvables_iter()
        key = pool.str2id(attribute) if attribute else 0
        for text in texts:
            pattern, flags = _pattern(lock, text)
            for match in pool.Dataiterator(key, pattern, flags):
                yield match.solvable


def _pattern(lock: Lock, text: str) -> tuple[str, int]:
    from solv import Dataiterator

    flags = {
        "exact": Dataiterator.SEARCH_STRING,
        "substring": Dataiterator.SEARCH_SUBSTRING,
        "glob": Dataiterator.SEARCH_GLOB,
    }.get(lock.mode, Dataiterator.SEARCH_REGEX)
    if lock.mode == "word":
        text = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
        text = rf"\b{text}\b"
    return text, flags | (0 if lock.case_sensitive else Dataiterator.SEARCH_NOCASE)
