# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own RPM package, built as a packager builds it, and sandboxes that have nothing of ours but what it installs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import once, rpms
from tests.support.sandbox import PROJECT, Sandbox, sandbox

NAME = "zypp-livepatch"
HOME = "usr/lib/zypp-livepatch"
_NEXT = "0.1.99"
# Python packages that openSUSE has as RPMs, with what they need
PYTHON = ("capstone", "rich", "markdown_it", "mdurl", "pygments", "solv")
# what the package requires, and Debian's files in the sandbox are
_PROVIDED = (
    "python3 = 3.99",
    *(f"python3-{name}" for name in ("capstone", "rich", "rpm", "solv")),
    "/bin/sh",
    "/usr/bin/python3",
    "zypper",
)
DEBIAN = rpms.Spec(name="debian", tags=[f"Provides: {each}" for each in _PROVIDED])
# directories of openSUSE's packages filesystem, zypper, bash-completion, zsh, fish
_DIRECTORIES = (
    "/usr/etc",
    "/usr/lib/zypper/commands",
    "/usr/lib/systemd/system",
    "/usr/lib64",
    "/usr/share/doc/packages",
    "/usr/share/fish/vendor_completions.d",
    "/usr/share/licenses",
    "/usr/share/zsh/site-functions",
)
# openSUSE enables only what a preset names (systemd.preset(5)); Debian, what none forbids
PRESETS = ("/usr/lib/systemd/system-preset/99-default-disable.preset", "disable *\n")


@dataclass(frozen=True, kw_only=True)
class Built:
    """Two versions of the package, and the first one's source package."""

    first: Path
    second: Path
    source: Path


def built(factory: pytest.TempPathFactory) -> Built:
    """Return the package in two versions, built once in a test run."""
    place = once.directory(factory, "rpm", _build_both)
    [first] = place.glob("first/*.noarch.rpm")
    [second] = place.glob("second/*.noarch.rpm")
    [source] = place.glob("first/*.src.rpm")
    return Built(first=first, second=second, source=source)


def _build_both(directory: Path) -> None:
    """Build the package from a fresh checkout of what git knows here, and a second time under a higher version."""
    checkout = directory / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, stdout=subprocess.PIPE, check=True
    ).stdout
    for name in listed.decode().rstrip("\0").split("\0"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, checkout / name)
    for words in (["init", "--quiet"], ["add", "--all", "--force"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    _build(checkout, directory / "first")
    for name, before in (
        ("spec/zypp-livepatch.spec", "Version:        "),
        ("host/command_line.py", 'VERSION = "'),
    ):
        file = checkout / name
        file.write_text(file.read_text().replace(f"{before}0.1.0", f"{before}{_NEXT}", 1))
    _build(checkout, directory / "second")


def _build(checkout: Path, into: Path) -> None:
    words = [checkout / ".ci/build-rpm", into]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@contextmanager
def bare_machine() -> Iterator[Sandbox]:
    """Make a sandbox without this checkout: what runs in it is what packages have installed."""
    with sandbox(plugin=False) as made:
        for name in PYTHON:
            found = importlib.util.find_spec(name)
            assert found is not None and found.submodule_search_locations
            origin = Path(next(iter(found.submodule_search_locations)))
            place = made.root / "usr/lib/python3/dist-packages" / name
            shutil.copytree(origin, place, dirs_exist_ok=True)
        made.run("mkdir", "--parents", *_DIRECTORIES)
        made.write(*PRESETS)
        made.run("mount", "-t", "tmpfs", "hidden", PROJECT)
        made.add_packages(DEBIAN)
        made.zypper("install", "debian")
        yield made


def offer(machine: Sandbox, package: Path) -> None:
    """Put a built package into the repository."""
    shutil.copy(package, machine.repository)
    machine.refresh()


def everything(machine: Sandbox) -> set[str]:
    """Return the path of every file in the sandbox, but for the machine's and what zypper and rpm write."""
    own = ("/var/log/", "/var/cache/", "/var/lib/rpm", "/var/lib/zypp/", "/root/")
    return {path for path in machine.new_files() if not path.startswith(own)}
