# SPDX-License-Identifier: GPL-2.0-or-later
"""The real libpulp 0.3.17 as a peer: found on the machine, preloaded by targets, asked through its own tool.

ZLP_LIBPULP names the directory where its ``ulp`` and ``libpulp.so.0`` are (``none``: do without). Otherwise they are
looked for where libraries and programs are installed. Tests that need it are marked with ``needs_libpulp``; what needs
its own test suite (ZLP_LIBPULP_SUITE: where libpulp was built) with ``needs_libpulp_suite``. The last lines of a test
run count those that did not run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.containers import PADS
from tests.support.targets import Target, answers_library, compiled, running

VERSION = "0.3.17"
VARIABLE = "ZLP_LIBPULP"
SUITE_VARIABLE = "ZLP_LIBPULP_SUITE"
MISSING = "libpulp not found"
SUITE_MISSING = "libpulp's own test suite not found"
_DIRECTORIES = ("/usr/lib64", "/usr/lib", "/usr/local/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu")


class Peer(NamedTuple):
    """Where libpulp is."""

    tool: Path
    library: Path


def find(environment: Mapping[str, str]) -> Peer | None:
    """Return libpulp, None without; raises FileNotFoundError where ZLP_LIBPULP does not lead to it."""
    named = environment.get(VARIABLE, "")
    if named == "none":
        return None
    if named:
        peer = Peer(Path(named) / "ulp", Path(named) / "libpulp.so.0")
        for path in peer:
            if not path.exists():
                raise FileNotFoundError(f"{VARIABLE} is {named}, and there is no {path}")
        if not _is_libpulps(peer.tool):
            raise FileNotFoundError(f"{VARIABLE} is {named}, and {peer.tool} is no ulp of libpulp {VERSION}")
        return peer
    library = next(filter(Path.exists, _libraries()), None)
    programs = (Path(place) / "ulp" for place in environment.get("PATH", "").split(":") if place)
    tool = next(filter(_is_libpulps, programs), None) if library else None
    return Peer(tool, library) if tool and library else None


def _libraries() -> Iterator[Path]:
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        if Path(program).exists():
            listed = subprocess.run([program, "-p"], capture_output=True, text=True, check=False).stdout
            yield from (Path(path) for path in re.findall(r"libpulp\.so\.0 .*=> (/.*)", listed))
    yield from (Path(directory) / "libpulp.so.0" for directory in _DIRECTORIES)


def _is_libpulps(program: Path) -> bool:
    if not os.access(program, os.X_OK):
        return False
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20)
    return said.stdout.strip() == f"libpulp {VERSION}"


def find_suite(environment: Mapping[str, str]) -> Path | None:
    """Return where libpulp was built; raises FileNotFoundError where ZLP_LIBPULP_SUITE does not lead there."""
    named = environment.get(SUITE_VARIABLE, "")
    if not named or named == "none":
        return None
    for path in (Path(named) / "config.status", Path(named) / "tests" / "Makefile"):
        if not path.exists():
            raise FileNotFoundError(f"{SUITE_VARIABLE} is {named}, and there is no {path}")
    return Path(named)


PEER = find(os.environ)
needs_libpulp = pytest.mark.skipif(PEER is None, reason=MISSING)
SUITE = find_suite(os.environ)
needs_libpulp_suite = pytest.mark.skipif(SUITE is None, reason=SUITE_MISSING)
_WANTED = {
    MISSING: f"set {VARIABLE} to the directory that holds ulp and libpulp.so.0 of libpulp {VERSION}",
    SUITE_MISSING: f"set {SUITE_VARIABLE} to a directory where libpulp {VERSION} was configured and built",
}


def not_run(reports: Iterable[object]) -> list[str]:
    """Return the lines that say how many of the skipped tests wanted libpulp, or its test suite."""
    reasons = [getattr(report, "longrepr", None) for report in reports]
    lines = []
    for missing, wanted in _WANTED.items():
        count = sum(isinstance(reason, tuple) and reason[2] == f"Skipped: {missing}" for reason in reasons)
        if count:
            tests = "1 interoperation test" if count == 1 else f"{count} interoperation tests"
            lines.append(f"{missing}: {tests} did NOT run; {wanted}")
    return lines


def peer() -> Peer:
    """Return libpulp where the test is known to have it."""
    assert PEER is not None, "a test without needs_libpulp wants libpulp"
    return PEER


def libpulp(*words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run libpulp's own ``ulp``."""
    return subprocess.run(
        [peer().tool, *words], capture_output=True, text=True, errors="backslashreplace", timeout=timeout
    )


def stand_in(*flags: str) -> Path:
    """Our own small library with libpulp's interface (programs/standin.c), for machines without libpulp.

    With ``-DOLD`` it is like libpulp 0.3.0, with ``-DSTRANGE`` it asks for impossible writes.
    """
    return compiled("standin.c", *flags, "-fPIC", "-shared", "-Wl,-soname,libpulp.so.0", name="libpulp.so.0")


def padded_library(*flags: str, name: str) -> Path:
    """``answers_library`` as libpulp wants it: space at each function, a hash table that its tool reads."""
    return answers_library(PADS, "-Wl,--hash-style=sysv,--build-id=sha1", *flags, name=name)


@contextmanager
def preloaded(
    program: Path | str, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """A ``running`` target that preloads libpulp."""
    with running(
        program, *words, environment={**(environment or {}), "LD_PRELOAD": str(peer().library)}
    ) as target:
        yield target


def apply(target: Target, container: Path) -> None:
    """Let libpulp's tool apply a live patch."""
    _trigger(target, container)


def revert(target: Target, container: Path) -> None:
    """Let libpulp's tool take a live patch back."""
    _trigger(target, "--revert", container)


def _trigger(target: Target, *words: str | Path) -> None:
    done = libpulp("trigger", "-p", str(target.pid), "-r", "100", *words)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, (done, target.describe())
