# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages of kernel live patches as SUSE makes them, in a database that the emulated machine takes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import installed_root, rpms
from tests.support.machine.kernels import Kernel
from tests.support.machine.modules import Livepatch

_DATABASE = "/var/lib/rpm"  # as guest.py tells rpm


def name(release: str) -> str:
    """Return what the package of a live patch is called, for a kernel as uname -r calls it."""
    return f"kernel-livepatch-{release.replace('.', '_')}"


def module_path(patch: Livepatch, release: str) -> str:
    """Return where a live patch's module is installed."""
    return f"/lib/modules/{release}/livepatch/{patch.file_name}.ko"


def database(
    changelogs: Mapping[Livepatch, str], modules: Mapping[str, Path], *, kernel: Kernel, work: Path
) -> dict[str, Path]:
    """Install packages of live patches; returns the files of rpm's database by their paths in the machine."""
    specs = [
        rpms.Spec(
            name=name(kernel.release),
            version=str(patch.version),
            release=patch.release,
            files={module_path(patch, kernel.release): modules[patch.name]},
            changelog=changelog,
        )
        for patch, changelog in changelogs.items()
    ]
    root = work / "root"
    installed_root.install(root, specs, work=work)
    return {f"{_DATABASE}/{path.name}": path for path in installed_root.database_directory(root).iterdir()}


def label(patch: Livepatch, kernel: Kernel) -> str:
    """Return what rpm -q says of a live patch's package."""
    return f"{name(kernel.release)}-{patch.version}-{patch.release}.noarch"


def files(patches: Sequence[Livepatch], modules: Mapping[str, Path], *, kernel: Kernel) -> dict[str, Path]:
    """Return the modules' files by their paths in the machine."""
    return {module_path(patch, kernel.release): modules[patch.name] for patch in patches}
