# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernels with what builds modules for them, fetched once and kept in the user's cache directory.

The cloud flavour is the smallest one that has live patching (CONFIG_LIVEPATCH), and boots fastest. Delete
``$XDG_CACHE_HOME/zypp-livepatch/kernels`` (about 100 MB for each) to have them fetched anew.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import apt
from tests.support.machine.apt import Unavailable

_LAYOUT = "1"  # of a kernel's directory; another one lies beside it
_WANTED = re.compile(r"linux-(image|binary|headers|kbuild)-\S+")
_UNPACKED = ("*/vmlinuz*", "./usr/src/*", "./usr/lib/linux-kbuild-*", "./usr/lib/x86_64-linux-gnu/*")
# What the programs in linux-kbuild are linked with; for a C library that is newer than this machine's.
_LIBRARIES = ("libc6", "libelf1t64", "libzstd1", "zlib1g")


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A kernel that some Debian release offers."""

    suite: str
    lists: tuple[str, ...] = ()  # further suites that it needs packages of
    libraries: tuple[str, ...] = ()  # packages that its tools may need and that this machine may have older

    @property
    def name(self) -> str:
        """How tests call it."""
        return self.suite


# What /sys/kernel/livepatch shows differs: 6.1; 6.12 has ``replace``; later ones have ``stack_order``.
GENERATIONS = (
    Generation(suite="bookworm"),
    Generation(suite="bookworm-backports"),
    Generation(suite="trixie-backports", lists=("trixie",), libraries=_LIBRARIES),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A kernel and the directory that modules for it are built with."""

    release: str  # as uname -r says
    image: Path
    headers: Path


@functools.cache
def kernel(generation: Generation) -> Kernel:
    """Return a kernel, fetched if need be; raises Unavailable."""
    place = cache("kernels") / _LAYOUT / generation.name
    place.parent.mkdir(exist_ok=True)
    with _locked(place.with_suffix(".lock")):
        if not place.is_dir():
            _prepare(generation, place)
    [headers] = place.glob("usr/src/linux-headers-*-cloud-amd64")
    release = headers.name.removeprefix("linux-headers-")
    image = next(place.rglob("vmlinuz*"))
    return Kernel(release=release, image=image, headers=headers)


def cache(kind: str) -> Path:
    """Return the user's cache directory for something; raises Unavailable."""
    home = os.environ.get("XDG_CACHE_HOME", "")  # to be ignored unless absolute (XDG Base Directory 0.8)
    base = Path(home) if home.startswith("/") else Path.home() / ".cache"
    place = base / "zypp-livepatch" / kind
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{place} cannot be made: {error.strerror}") from error
    return place


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(generation: Generation, place: Path) -> None:
    """Fetch a kernel and make its directory, all of it or nothing."""
    work = place.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    try:
        fetched, made = work / "fetched", work / "made"
        fetched.mkdir(parents=True)
        made.mkdir()
        _fetch(generation, fetched, work / "apt")
        for package in fetched.glob("*.deb"):
            _unpack(package, made)
        _settle(made, place)
        made.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(generation: Generation, into: Path, work: Path) -> None:
    reasons = []
    for source in apt.sources([generation.suite, *generation.lists], work):
        try:
            names = ["linux-image-cloud-amd64", "linux-headers-cloud-amd64", *generation.libraries]
            packages = [source.package(name) for name in names]
            known = set(names)
            for package in packages:
                more = [name for name in package.depends if _WANTED.fullmatch(name) and name not in known]
                known.update(more)
                packages.extend(source.package(name) for name in more)
            source.download(packages, into=into)
            return
        except Unavailable as reason:
            reasons.append(str(reason))
    raise Unavailable("; ".join(reasons))


def _unpack(package: Path, into: Path) -> None:
    """Unpack what is wanted of a package; its kernel modules are most of it, and are not."""
    contents = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    tar = ["tar", "--extract", "--no-same-owner", "--wildcards", f"--directory={into}", *_UNPACKED]
    # not every package has something of every kind, and tar's status is about that
    subprocess.run(tar, stdin=contents.stdout, stderr=subprocess.DEVNULL)
    if contents.wait() != 0:
        raise Unavailable(f"{package.name} cannot be unpacked")


def _settle(made: Path, place: Path) -> None:
    """Let the headers build modules at ``place`` although they are not installed."""
    for headers in made.glob("usr/src/linux-headers-*-cloud-amd64"):
        makefile = headers / "Makefile"
        makefile.write_text(makefile.read_text().replace("/usr/src/", f"{place}/usr/src/"))
        # only for describing a module's types to BPF, which wants tools that nobody else needs
        (headers / "vmlinux").unlink(missing_ok=True)
    loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    if not (made / loader).exists():
        return
    run = f'"{place / loader}" --library-path "{(place / loader).parent}"'
    for folder in ("scripts", "tools"):
        for tool in made.glob(f"usr/lib/linux-kbuild-*/{folder}/*/*"):
            if tool.is_file() and _lacks_libraries(tool):
                binary = tool.rename(tool.with_name(f"{tool.name}.binary"))
                tool.write_text(f'#!/bin/sh\nexec {run} "{place / binary.relative_to(made)}" "$@"\n')
                tool.chmod(0o755)


def _lacks_libraries(program: Path) -> bool:
    """Tell whether this machine's libraries are too old for a program."""
    said = subprocess.run(
        ["ldd", program], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    return "not found" in said.stdout + said.stderr
