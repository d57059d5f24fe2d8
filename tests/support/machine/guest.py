# SPDX-License-Identifier: GPL-2.0-or-later
"""What the emulated machine runs: Debian's Python, rpm's binding, our ``klp`` and the ``agent``, from this machine."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tests.support.machine.apt import Unavailable
from tests.support.machine.cpio import Archive
from tests.support.targets import compiled

PROJECT = Path(__file__).parents[3]
ROOMS = ("host", "klp", "lifecycle", "ulp", "zypp_plugin")
# the agent and the packages that it is in
_AGENT = (
    "__init__.py",
    "support/__init__.py",
    *(f"support/machine/{name}.py" for name in ("__init__", "agent", "copies", "trials")),
)
_PACKAGES = "/usr/lib/python3/dist-packages"  # where that looks for packages
_PYTHON = "/usr/bin/python3"  # python3-rpm's, and what an installed klp would run with
HOME = "/usr/lib/checkout"  # where our rooms are in the machine; an installed package has its own place
# Parts of the standard library that are large, and that neither klp nor the agent can need.
_LEFT_OUT = re.compile(
    r"(test|lib2to3|idlelib|pydoc_data|distutils|ensurepip|tkinter|turtledemo|unittest|config-.*)/"
    r"|lib-dynload/(_curses|_tkinter|_testc|_dbm|_gdbm|readline|nis|ossaudiodev|xx)|.*/tests?/"
)
_SCRIPT = f"""\
#!{_PYTHON} -I
import sys
sys.path.insert(0, "{HOME}")
"""
_KLP = f"{_SCRIPT}from klp.cli import main\nsys.exit(main())\n"
_INIT = f"{_SCRIPT}from tests.support.machine import agent\nagent.live()\n"
_ASK = """\
import json, rpm, sys, sysconfig
print(json.dumps([sys.implementation.cache_tag, sysconfig.get_path("stdlib"), rpm.__path__[0], sys.executable]))
"""


class _Python(NamedTuple):
    tag: str  # in the names of what it compiles
    library: Path
    binding: Path  # rpm's
    program: Path


@functools.cache
def root() -> BinaryIO:
    """Return the archive of the root that every machine starts with; gone when this process ends."""
    python = _python()
    file = tempfile.TemporaryFile()  # noqa: SIM115  whoever gets it keeps it open
    programs: list[Path] = [python.program]
    with Archive(file) as archive:
        archive.merge()
        for place in ("/dev", "/mnt", "/proc", "/sys", "/root", "/run", "/var/lib/rpm"):
            archive.directory(place)
        archive.directory("/tmp", 0o1777)
        archive.file(_PYTHON, python.program, 0o755)
        for path in _library(python):
            archive.file(*_compiled(path, python.tag))
            programs += [path] if path.suffix == ".so" else []
        for path in [Path("/usr/lib/rpm/rpmrc"), *Path("/usr/lib/rpm").glob("macros*")]:
            if path.is_file():
                archive.file(str(path), path)
        archive.file("/etc/rpm/macros.guest", b"%_dbpath /var/lib/rpm\n")
        for path in needed(programs):
            archive.file(str(path), path, 0o755)
        for name, content in _rooms():
            archive.file(f"{HOME}/{name}", content)
        archive.file("/usr/bin/klp", _KLP.encode(), 0o755)
        archive.file("/usr/bin/sleeper", compiled(Path("sleeper.c"), "-static"), 0o755)
        archive.file("/init", _INIT.encode(), 0o755)
    file.flush()
    return file


def _python() -> _Python:
    done = subprocess.run([_PYTHON, "-c", _ASK], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"{_PYTHON} has no rpm: {done.stderr.splitlines()[-1]}")
    tag, library, binding, program = json.loads(done.stdout)
    return _Python(tag, Path(library), Path(binding), Path(program).resolve())


def _library(python: _Python) -> Iterator[Path]:
    """Yield the modules of the standard library and of rpm's binding."""
    for top in (python.library, python.binding):
        for path in top.rglob("*"):
            inside = str(path.relative_to(python.library)) if top == python.library else ""
            if path.suffix in (".py", ".so") and not _LEFT_OUT.match(inside):
                yield path


def _compiled(path: Path, tag: str) -> tuple[str, Path]:
    """Return where a module goes and its file: what Python made of it if there is that, since it starts faster."""
    made = path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"
    if path.suffix == ".py" and made.exists():
        return str(path.with_suffix(".pyc")), made
    return str(path), path


def python_packages(names: Sequence[str]) -> dict[str, Path]:
    """Return the files of packages that this Python has, for the machine's: by their paths there."""
    files: dict[str, Path] = {}
    for name in names:
        found = importlib.util.find_spec(name)
        assert found is not None and found.submodule_search_locations
        origin = Path(next(iter(found.submodule_search_locations)))
        for top in (origin, origin.with_name(f"{name}.libs")):
            for path in top.rglob("*"):
                if path.is_file() and path.suffix != ".pyc":
                    place, source = _compiled(path, sys.implementation.cache_tag)
                    files[f"{_PACKAGES}/{Path(place).relative_to(origin.parent)}"] = source
    libraries = needed([path for path in files.values() if ".so" in path.suffixes])
    return {**files, **{str(path): path for path in libraries}}


def needed(programs: Sequence[Path]) -> list[Path]:
    """Return the libraries that programs are linked with, as the dynamic linker finds them."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", said)})


def _rooms() -> list[tuple[str, bytes]]:
    """Return our modules and the agent, compiled by the Python that runs them."""
    with tempfile.TemporaryDirectory() as work:
        for name in _AGENT:
            place = Path(work, "tests", name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / "tests" / name, place)
        for room in ROOMS:
            shutil.copytree(PROJECT / room, Path(work, room), ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([_PYTHON, "-m", "compileall", "-q", "-b", "-s", work, "-p", HOME, work], check=True)
        made = sorted(Path(work).rglob("*.pyc"))
        return [(str(path.relative_to(work)), path.read_bytes()) for path in made]
