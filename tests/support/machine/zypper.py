# SPDX-License-Identifier: GPL-2.0-or-later
"""Real zypper for the emulated machine, with a repository of kernel live patch packages."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import solv

from tests.support import installed_root, rpms
from tests.support.machine import guest, packages
from tests.support.machine.apt import Unavailable
from tests.support.machine.kernels import Kernel
from tests.support.machine.modules import Livepatch

_PROGRAMS = ("zypper", "rpm", "repo2solv", "rpmdb2solv", "rmmod")
_REPOSITORY = "/srv/repository"
_SETTINGS = f"[test]\nname=test\nenabled=1\nautorefresh=0\ngpgcheck=0\nbaseurl=dir:{_REPOSITORY}\n"
# As SUSE's scripts do. Lua, since there is no shell in the machine; finit_module(2) has the number 313 on x86_64
_LOAD = """\
assert(rpm.execute("/usr/bin/python3", "-I", "-c", [[
import ctypes, os
module = os.open("{path}", os.O_RDONLY)
raise SystemExit(ctypes.CDLL(None).syscall(313, module, b"", 0))
]]))
"""


def files(
    patches: Sequence[Livepatch],
    modules: Mapping[str, Path],
    *,
    installed: Livepatch,
    kernel: Kernel,
    work: Path,
) -> dict[str, Path]:
    """Return the files of zypper, of the repository and of rpm's database, by their paths in the machine.

    Raises Unavailable where this machine has no zypper.
    """
    specs = {patch: _spec(patch, modules[patch.name], kernel) for patch in patches}
    glibc = rpms.Spec(name="glibc", version="2.38")  # what libzypp's systemCheck wants
    repository = work / "repository"
    rpms.build(list(specs.values()), into=repository, work=work / "build")
    rpms.repository(repository)
    root = work / "zypper-root"
    installed_root.install(root, [glibc, specs[installed]], work=work / "database")
    settings = work / "test.repo"
    settings.write_text(_SETTINGS)
    programs = [_program(name) for name in _PROGRAMS]
    binding = Path(solv.__file__).parent
    libraries = guest.needed([*programs, *binding.glob("*.so")])
    home = "/usr/lib/zypp-livepatch"  # where the machine has our rooms
    return {
        **{str(path): path for path in (*programs, *libraries)},
        **{f"{home}/solv/{path.name}": path for path in binding.iterdir() if path.suffix in (".py", ".so")},
        **{f"{home}/solv.libs/{path.name}": path for path in binding.with_name("solv.libs").iterdir()},
        **_tree(Path("/etc/zypp"), "/etc/zypp"),
        **_tree(repository, _REPOSITORY),
        "/etc/zypp/repos.d/test.repo": settings,
        **_tree(installed_root.database_directory(root), "/var/lib/rpm"),
        packages.module_path(installed, kernel): modules[installed.name],
    }


def _spec(patch: Livepatch, module: Path, kernel: Kernel) -> rpms.Spec:
    path = packages.module_path(patch, kernel)
    return rpms.Spec(
        name=packages.name(kernel),
        version=str(patch.version),
        release=patch.release,
        files={path: module},
        scripts={"post -p <lua>": _LOAD.format(path=path)},
    )


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name}")
    return Path(found)


def _tree(top: Path, place: str) -> dict[str, Path]:
    return {f"{place}/{path.relative_to(top)}": path for path in _files(top)}


def _files(top: Path) -> Iterable[Path]:
    return (path for path in top.rglob("*") if path.is_file())
