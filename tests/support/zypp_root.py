# SPDX-License-Identifier: GPL-2.0-or-later
"""A directory that looks to zypp like a system: rpm database, repositories, caches; made without running zypper.

The caches are made by libsolv's own tools, which libzypp calls for that, too.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support import rpms
from tests.support.installed_root import database_directory, install


@dataclass(frozen=True, slots=True)
class ZyppRoot:
    """A root, and a directory to build in that is no part of it."""

    root: Path
    work: Path

    def install(self, *specs: rpms.Spec) -> None:
        """Enter packages into the rpm database."""
        install(self.root, specs, work=self.work / "installed")

    def remove(self, name: str) -> None:
        """Take a package out of the rpm database."""
        database = str(database_directory(self.root))
        command = ["rpm", "--dbpath", database, "--erase", "--justdb", "--nodeps", name]
        subprocess.run(command, check=True, capture_output=True)

    def cache_installed(self) -> Path:
        """Make zypp's cache of what is installed now."""
        usual = self.root / "var/lib/rpm"
        if not usual.exists():
            usual.parent.mkdir(parents=True, exist_ok=True)
            usual.symlink_to(database_directory(self.root), target_is_directory=True)
        return self._cache("@System", ["rpmdb2solv", "-r", str(self.root), "-o"])

    def add_repository(self, alias: str, *specs: rpms.Spec, settings: str = "", cached: bool = True) -> None:
        """Add a repository, or give it these packages instead of those it had; ``settings`` are lines of its file."""
        file = self.write(f"etc/zypp/repos.d/{alias}.repo", f"[{alias}]\n{settings}\n")
        assert file.is_file()
        packages = self.work / alias
        shutil.rmtree(packages, ignore_errors=True)
        packages.mkdir(parents=True)
        rpms.build(specs, into=packages, work=self.work / "build")
        rpms.repository(packages)
        shutil.rmtree(self.metadata(alias), ignore_errors=True)
        shutil.copytree(packages / "repodata", self.metadata(alias) / "repodata")
        if cached:
            self.cache(alias)

    def cache(self, alias: str) -> Path:
        """Make zypp's cache of a repository's metadata as they are now."""
        return self._cache(alias, ["repo2solv", "-X", str(self.metadata(alias)), "-o"])

    def metadata(self, alias: str) -> Path:
        """Return the directory of what zypp downloaded of a repository."""
        return self.root / "var/cache/zypp/raw" / alias

    def solv(self, alias: str) -> Path:
        """Return the file that is zypp's cache of a repository."""
        return self.root / "var/cache/zypp/solv" / alias / "solv"

    def write(self, path: str, text: str) -> Path:
        """Write a file in the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def _cache(self, alias: str, command: list[str]) -> Path:
        solv = self.solv(alias)
        solv.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command, str(solv)], check=True, capture_output=True)
        return solv


def make(work: Path) -> ZyppRoot:
    """Return an empty system in a directory."""
    root = work / "root"
    root.mkdir(parents=True)
    subprocess.run(["rpm", "--dbpath", str(database_directory(root)), "--initdb"], check=True)
    return ZyppRoot(root, work)
