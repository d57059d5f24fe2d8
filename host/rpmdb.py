# SPDX-License-Identifier: GPL-2.0-or-later
"""The rpm database: what is installed, and which files belong to it.

Read through the system's own binding, so that the database's format, its path and the macros that say so are
rpm's business. Importing this module is cheap; the binding is loaded by the first call.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host.errors import Error, ExitStatus

if TYPE_CHECKING:
    import rpm

# PGPHASHALGO_* of rpm's rpmpgp.h: the numbers that FILEDIGESTALGO holds (RFC 4880, 9.4)
_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
_SIGNATURES = (
    "rsaheader",
    "dsaheader",
    "openpgp",
)  # of the header, the last from rpm 6 on (docs/manual/tags.md)
_MD5 = 1  # what a package without the tag uses


class DatabaseError(Error):
    """The rpm database is missing, damaged or locked."""

    status = ExitStatus.UNAVAILABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A regular file or a symbolic link of a package, as the package says it should be."""

    path: str  # as seen inside of the root
    digest: str  # hexadecimal; "" where the package has none
    algorithm: str  # a name that hashlib knows
    link: str = ""  # where a symbolic link leads

    def matches(self, content: bytes) -> bool:
        """Tell whether this is what the package put there."""
        return bool(self.digest) and hashlib.new(self.algorithm, content).hexdigest() == self.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """An installed package."""

    name: str
    evr: str  # [EPOCH:]VERSION-RELEASE
    arch: str
    files: tuple[File, ...]
    changelog: tuple[str, ...] = ()  # the entries' texts, newest first; untrusted


def installed(names: Iterable[str], *, root: str = "/") -> tuple[Package, ...]:
    """Return the installed packages with these names, all versions of each; raises DatabaseError."""
    with opened(root) as database:
        return tuple(
            _package(header) for name in dict.fromkeys(names) for header in database.dbMatch("name", name)
        )


def matching(patterns: Iterable[str], *, root: str = "/") -> dict[str, tuple[Package, ...]]:
    """Return the installed packages whose names match patterns as fnmatch(3) knows them; raises DatabaseError."""
    rpm = _binding()
    found: dict[str, tuple[Package, ...]] = {}
    with opened(root) as database:
        for pattern in dict.fromkeys(patterns):
            headers = database.dbMatch()
            headers.pattern("name", rpm.RPMMIRE_GLOB, pattern)
            found[pattern] = tuple(map(_package, headers))
    return found


def directory(root: str = "/") -> str:
    """Return where the database under a root is; raises DatabaseError."""
    return os.path.join(root, _binding().expandMacro("%{_dbpath}").lstrip("/"))


def owners(paths: Iterable[str], *, root: str = "/", loud: bool = False) -> dict[str, Package]:
    """Return the package of each path, as seen inside the root, that an installed one has.

    ``loud`` as for ``opened``. Raises DatabaseError.
    """
    found: dict[str, Package] = {}
    packages: dict[int, Package] = {}
    with opened(root, loud=loud) as database:
        for path in paths:
            for header in database.dbMatch("basenames", path):
                number = header["dbinstance"]
                found[path] = packages.setdefault(number, packages.get(number) or _package(header))
    return found


def editions(*, root: str = "/") -> dict[str, str]:
    """Return the EVR of every installed package by name, of several the last; raises DatabaseError."""
    with opened(root) as database:
        return {text(header["name"]): text(header["evr"]) for header in database.dbMatch()}


def unowned(paths: Iterable[str], *, root: str = "/") -> list[str]:
    """Return those of some paths, as seen inside the root, that no installed package has; raises DatabaseError."""
    wanted = list(paths)
    known = owners(wanted, root=root)
    return [path for path in wanted if path not in known]


def signature_problems(names: Iterable[str], *, root: str = "/") -> dict[tuple[str, str], str]:
    """Say of the installed packages with these names why what rpm knows of them is not what a known key signed.

    The keys are the root's own (``rpm --import``). Returns sentences by name and EVR; raises DatabaseError.
    """
    rpm = _binding()
    problems: dict[tuple[str, str], str] = {}
    with opened(root) as database:
        checking = rpm.TransactionSet(root, 0)
        for header in [each for name in dict.fromkeys(names) for each in database.dbMatch("name", name)]:
            key = text(header["name"]), text(header["evr"])
            if not any(_has(header, tag) for tag in _SIGNATURES):
                problems[key] = f"{key[0]} {key[1]} is not signed"
                continue
            try:
                checking.hdrCheck(header.unload())
            except rpm.error as error:
                why = str(error).strip().partition("\n")[0]
                problems[key] = f"the signature of {key[0]} {key[1]} does not hold: {why}"
    return problems


def compare(left: str, right: str) -> int:
    """Compare two ``[EPOCH:]VERSION-RELEASE`` as rpm does; returns -1, 0 or 1."""
    rpm = _binding()
    return int(rpm.labelCompare(_label(left), _label(right)))


def _label(evr: str) -> tuple[str, str, str]:
    epoch, colon, rest = evr.rpartition(":")
    version, _, release = rest.rpartition("-")
    return (epoch if colon else "0", version or release, release if version else "")


def _binding() -> rpm:
    try:
        import rpm
    except ImportError as error:
        raise DatabaseError(
            f"Python's binding of rpm cannot be loaded: {error}", hint="install the package python3-rpm"
        ) from error
    rpm.setVerbosity(
        rpm.RPMLOG_CRIT
    )  # what rpm says to stderr on its own; failures are told through exceptions
    return rpm


@contextmanager
def opened(root: str, *, loud: bool = False) -> Iterator[rpm.TransactionSet]:
    """Open the database under a root for queries; raises DatabaseError, in its body too.

    rpm passes over damaged packages as if they were not there; ``loud``: and complains on standard error.
    """
    rpm = _binding()
    path = directory(root)
    if loud:
        rpm.setVerbosity(rpm.RPMLOG_ERR)
    hint = f"see what 'rpm --root {root} -q rpm' says; 'rpm --rebuilddb' repairs many damages"
    try:
        is_there = Path(path).is_dir()
    except OSError as error:
        raise DatabaseError(f"the rpm database in {path} cannot be read: {error.strerror}") from error
    if not is_there:  # rpm would make an empty database and find nothing in it
        raise DatabaseError(f"there is no rpm database in {path}", hint=hint)
    try:
        # Signatures were checked when zypper installed the package; here they would only cost time.
        database = rpm.TransactionSet(root, rpm._RPMVSF_NOSIGNATURES | rpm._RPMVSF_NODIGESTS)
        if database.openDB() != 0:
            raise rpm.error("it cannot be opened")
        yield database
        database.closeDB()
    except rpm.error as error:
        raise DatabaseError(f"the rpm database in {path} cannot be read: {error}", hint=hint) from error


def _has(header: rpm.hdr, tag: str) -> bool:
    try:
        return bool(header[tag])
    except (KeyError, ValueError):  # a tag that this rpm does not know yet
        return False


def _package(header: rpm.hdr) -> Package:
    algorithm = _ALGORITHMS.get(header["filedigestalgo"] or _MD5, "")
    files = tuple(
        File(path=text(path), digest=digest if algorithm else "", algorithm=algorithm, link=text(link))
        for path, digest, link in zip(
            header["filenames"], header["filedigests"], header["filelinktos"], strict=False
        )
        if digest or link  # directories and ghosts have neither
    )
    return Package(
        name=text(header["name"]),
        evr=text(header["evr"]),
        arch=text(header["arch"]),
        files=files,
        changelog=tuple(text(entry) for entry in header["changelogtext"]),
    )


def text(value: str | bytes) -> str:
    """Return a header's string; bytes that are no UTF-8 become surrogates (PEP 383)."""
    return value if isinstance(value, str) else os.fsdecode(value)
