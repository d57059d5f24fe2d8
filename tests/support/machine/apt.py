# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages of any Debian suite, from the mirror that this machine's apt uses; nothing is installed.

A suite of another release than this machine's gets package lists of its own in a private directory, so that apt's
own lists and settings stay as they are. Where apt fetches from, and through which proxy, is asked of apt.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 180.0  # seconds for one call of apt
_SILENCE = 15  # seconds without an answer after which a mirror is given up, for all that comes later, too
_FETCHING = tuple(
    word
    for setting in ("Retries=1", f"http::Timeout={_SILENCE}", f"https::Timeout={_SILENCE}")
    for word in ("-o", f"Acquire::{setting}")
)
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(Exception):
    """What a test needs cannot be had on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that a mirror offers."""

    name: str
    version: str
    depends: tuple[str, ...]  # names, the first of each set of alternatives


class Apt:
    """Package lists of some suites; ``configuration`` is the file that tells apt where they are."""

    def __init__(self, suites: Sequence[str], configuration: Path | None) -> None:
        self.suites = suites
        self._environment = {"APT_CONFIG": str(configuration)} if configuration else {}

    def package(self, name: str) -> Package:
        """Return the newest package with this name in the suites; raises Unavailable."""
        listed = [line.split("|") for line in self._run("apt-cache", "madison", name).splitlines()]
        versions = [
            version.strip()
            for _, version, place in listed
            if place.split()[1].partition("/")[0] in self.suites
        ]
        if not versions:
            raise Unavailable(f"{name} is not in {' or '.join(self.suites)}")
        shown = self._run("apt-cache", "show", f"{name}={versions[0]}")
        fields = dict(re.findall(r"^([\w-]+): (.*)$", shown.partition("\n\n")[0], re.MULTILINE))
        depends = [words.split()[0] for words in fields.get("Depends", "").split(", ") if words]
        return Package(name, versions[0], tuple(depends))

    def download(self, packages: Iterable[Package], *, into: Path) -> None:
        """Fetch package files into a directory; raises Unavailable."""
        wanted = (f"{each.name}={each.version}" for each in packages)
        self._fetch("apt-get", "download", *wanted, *_FETCHING, directory=into)

    def update(self) -> None:
        """Fetch the lists of packages; raises Unavailable."""
        # without Error-Mode, apt calls a list that it could not fetch a success
        self._fetch("apt-get", "update", "--error-on=any", *_FETCHING)

    def _fetch(self, *words: str, directory: Path | None = None) -> None:
        began = time.monotonic()
        try:
            self._run(*words, directory=directory)
        except Unavailable as reason:
            if time.monotonic() - began >= _SILENCE:
                _silent.append(reason)
            raise

    def _run(self, *words: str, directory: Path | None = None) -> str:
        return _output(words, self._environment, directory)


_silent: list[Unavailable] = []  # what a mirror that does not answer is known by


def sources(suites: Sequence[str], work: Path) -> Iterator[Apt]:
    """Yield ways to get at packages of the suites, the cheapest first; raises Unavailable where there is none.

    ``work`` is an empty directory for lists that this machine does not have.
    """
    if platform.machine() != "x86_64" or not shutil.which("apt-get"):
        raise Unavailable("only an x86_64 Debian can fetch them")
    if _silent:
        raise _silent[0]
    codename = _os_release().get("VERSION_CODENAME", "")
    if codename in suites:
        yield Apt([*suites, f"{codename}-security", f"{codename}-updates"], None)
        if _silent:
            return
    private = Apt(suites, _private(suites, codename, work))
    private.update()
    yield private


def _private(suites: Sequence[str], codename: str, work: Path) -> Path:
    """Write a configuration of apt that knows just these suites, and the machine's way of fetching."""
    mirror = _mirror(codename)
    for name in ("lists/partial", "archives/partial", "empty"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    key = f"[signed-by={_KEYS}] " if _KEYS.exists() else ""
    (work / "sources").write_text("".join(f"deb {key}{mirror} {suite} main\n" for suite in suites))
    dumped = _output(["apt-config", "dump"])
    fetching = [line for line in dumped.splitlines() if line.startswith("Acquire::")]
    directories = {
        "Etc::main": "/dev/null",
        "Etc::parts": work / "empty",
        "Etc::sourcelist": work / "sources",
        "Etc::sourceparts": work / "empty",
        "Etc::preferences": "/dev/null",
        "Etc::preferencesparts": work / "empty",
        "State": work,
        "State::lists": work / "lists",
        "State::status": work / "status",
        "Cache": work,
    }
    lines = [f'Dir::{name} "{place}";' for name, place in directories.items()]
    lines += ['Acquire::Languages "none";', 'APT::Sandbox::User "";']
    configuration = work / "apt.conf"
    configuration.write_text("\n".join([*fetching, *lines, ""]))
    return configuration


def _mirror(codename: str) -> str:
    """Return the address that this machine's apt fetches its own release from."""
    wanted = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    listed = _output(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    for line in listed.splitlines():
        release, component, address = line.split()
        if (release, component) == (codename, "main"):
            return address
    raise Unavailable(f"apt has no source for {codename or 'this release'}")


def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()


def _output(words: Sequence[str], more: dict[str, str] | None = None, directory: Path | None = None) -> str:
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C", **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(words[:2])} takes longer than {_PATIENCE:.0f} s") from None
    if done.returncode:
        problems = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise Unavailable(
            problems[0].removeprefix("E: ") if problems else f"{words[0]} ended with {done.returncode}"
        )
    return done.stdout
