# SPDX-License-Identifier: GPL-2.0-or-later
"""Real zypper for the emulated machine, with a repository of packages, kernel live patches among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support import installed_root, rpms
from tests.support.machine import guest, packages, system
from tests.support.machine.modules import Livepatch

GLIBC = rpms.Spec(name="glibc", version="2.38")  # what libzypp's systemCheck wants
_PROGRAMS = ("zypper", "rpm", "repo2solv", "rpmdb2solv", "insmod", "rmmod")
_REPOSITORY = "/srv/repository"
_SETTINGS = f"[test]\nname=test\nenabled=1\nautorefresh=0\ngpgcheck=0\nbaseurl=dir:{_REPOSITORY}\n"
# What SUSE's packages do: the setting says whether, "auto" means unless it is for the next boot.
# Lua, which is part of rpm: a shell is hindered by a live patch of vfork(2).
_LOAD = """\
local setting = "auto"
local file = io.open("/etc/sysconfig/livepatching")
if file then setting = file:read("a"):match("LIVEPATCH_KERNEL=(%a+)") or setting end
local wanted = setting == "always" or (setting == "auto" and not os.getenv("TRANSACTIONAL_UPDATE"))
if wanted and posix.uname("%r") == "{release}" then assert(rpm.execute("insmod", "{path}")) end
"""


def files(repository: Path, installed: Sequence[rpms.Spec], *, work: Path) -> dict[str, Path | bytes]:
    """Return the files of zypper, of the repository and of rpm's database, by their paths in the machine.

    Raises Unavailable where this machine has no zypper.
    """
    rpms.repository(repository)
    root = work / "zypper-root"
    installed_root.install(root, installed, work=work / "database")
    return {
        **system.programs(_PROGRAMS),
        **guest.python_packages(["solv"]),
        **_tree(Path("/etc/zypp"), "/etc/zypp"),
        **_tree(repository, _REPOSITORY),
        "/etc/zypp/repos.d/test.repo": _SETTINGS.encode(),
        **_tree(installed_root.database_directory(root), "/var/lib/rpm"),
    }


def package(
    patch: Livepatch, module: Path, *, release: str, name: str = "", changelog: str = ""
) -> rpms.Spec:
    """Return the package of a kernel's live patch, which loads it."""
    path = packages.module_path(patch, release)
    return rpms.Spec(
        name=name or packages.name(release),
        version=str(patch.version),
        release=patch.release,
        files={path: module},
        scripts={"post -p <lua>": _LOAD.format(release=release, path=path)},
        changelog=changelog,
    )


def _tree(top: Path, place: str) -> dict[str, Path]:
    return {f"{place}/{path.relative_to(top)}": path for path in _files(top)}


def _files(top: Path) -> Iterable[Path]:
    return (path for path in top.rglob("*") if path.is_file())
