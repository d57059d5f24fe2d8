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

from tests.support import rpms
from tests.support.sandbox import PROJECT, Sandbox, sandbox

NAME = "zypp-livepatch"
HOME = "usr/lib/zypp-livepatch"
_NEXT = "0.1.99"
# Python packages that openSUSE has as RPMs, with what they need
_PYTHON = ("capstone", "rich", "markdown_it", "mdurl", "pygments", "solv")
# what the package requires, and Debian's files in the sandbox are
_PROVIDED = (
    "python3 = 3.99",
    *(f"python3-{name}" for name in ("capstone", "rich", "rpm", "solv")),
    "/bin/sh",
    "/usr/bin/python3",
    "zypper",
)
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


@dataclass(frozen=True, kw_only=True)
class Built:
    """Two versions of the package, and the first one's source package."""

    first: Path
    second: Path
    source: Path


def build(directory: Path) -> Built:
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
    first, source = _build(checkout, directory / "first")
    for name, before in (
        ("spec/zypp-livepatch.spec", "Version:        "),
        ("host/command_line.py", 'VERSION = "'),
    ):
        file = checkout / name
        file.write_text(file.read_text().replace(f"{before}0.1.0", f"{before}{_NEXT}", 1))
    second, _ = _build(checkout, directory / "second")
    return Built(first=first, second=second, source=source)


def _build(checkout: Path, into: Path) -> tuple[Path, Path]:
    words = [checkout / ".ci/build-rpm", into]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    [package] = into.glob("*.noarch.rpm")
    [source] = into.glob("*.src.rpm")
    return package, source


@contextmanager
def bare_machine() -> Iterator[Sandbox]:
    """Make a sandbox without this checkout: what runs in it is what packages have installed."""
    with sandbox(plugin=False) as made:
        for name in _PYTHON:
            found = importlib.util.find_spec(name)
            assert found is not None and found.submodule_search_locations
            origin = Path(next(iter(found.submodule_search_locations)))
            place = made.root / "usr/lib/python3/dist-packages" / name
            shutil.copytree(origin, place, dirs_exist_ok=True)
        made.run("mkdir", "--parents", *_DIRECTORIES)
        made.run("mount", "-t", "tmpfs", "hidden", PROJECT)
        made.add_packages(rpms.Spec(name="debian", tags=[f"Provides: {each}" for each in _PROVIDED]))
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
