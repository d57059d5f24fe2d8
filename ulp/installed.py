# SPDX-License-Identifier: GPL-2.0-or-later
"""Where live patches lie on a system, and which of them is the newest for a library build.

Packages keep theirs below /usr/lib64/PACKAGE (SUSE's: PACKAGE/VERSION/LIBRARY_livepatchN.so), and their scripts copy
them to /var/livepatches on transactional systems. The rpm database is not asked: it takes longer than to look, and a
container counts whoever put it there. On the path of every commit of zypper: nothing that costs is imported.
"""

from __future__ import annotations

import errno
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from host.errors import Error
    from ulp.container import Container

DIRECTORY = "usr/lib64"
MOVED = "var/livepatches"
_HINT = "livepatch"  # in the path of every live patch that SUSE makes
_MAX_DEPTH = 4
_MAX_FILES = 4096  # in the directory of one package
_NUMBER = re.compile(r"livepatch(\d{1,9})\.so")


def find(root: str = "/") -> tuple[tuple[Container, ...], tuple[Error, ...]]:
    """Read all containers of a system, each live patch once, and say which could not be read.

    Raises NoInputError when there is no such root.
    """
    from host.errors import Error, NoInputError
    from host.files import as_error
    from ulp.container import read

    if not os.path.isdir(root):
        raise NoInputError(f"there is no directory {root}")
    problems: list[Error] = []

    def tell(path: str, error: OSError) -> None:
        ours = _HINT in os.path.relpath(path, root)  # other packages have directories closed to other users
        if ours and not isinstance(error, FileNotFoundError | NotADirectoryError):
            problems.append(as_error(path, error))

    found: dict[bytes, Container] = {}
    for path in sorted(_everywhere(root, tell)):
        try:
            container = read(path)
        except NoInputError:  # gone since
            continue
        except Error as error:
            problems.append(error)
            continue
        found.setdefault(container.patch_id, container)
    return tuple(found.values()), tuple(problems)


def paths(root: str = "/") -> list[str]:
    """Return where the containers in the directories of packages are, as seen inside ``root``."""
    packages = f"/{DIRECTORY}/"
    found = (f"/{os.path.relpath(path, root)}" for path in _everywhere(root, _ignore))
    return sorted(path for path in found if path.startswith(packages))


def containers_of(name: str, *, root: str) -> Iterator[str]:
    """Yield the paths of the containers in the directory of package ``name``, as seen inside ``root``."""
    for path in _below(os.path.join(root, DIRECTORY, name), _ignore):
        yield "/" + os.path.relpath(path, root)


def number(path: str) -> int:
    """Return the number N of ``…_livepatchN.so``, 0 without one: the later one has the fixes of those before it."""
    match = _NUMBER.search(os.path.basename(path))
    return int(match[1]) if match else 0


def _everywhere(root: str, tell: Callable[[str, OSError], None]) -> Iterator[str]:
    for parent in (DIRECTORY, MOVED):
        directory = os.path.join(root, parent)
        try:
            with os.scandir(directory) as entries:
                packages = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            tell(directory, error)
            continue
        for package in packages:
            yield from _below(package, tell)


def _below(package: str, tell: Callable[[str, OSError], None]) -> Iterator[str]:
    left = _MAX_FILES
    todo = [(package, 0)]
    while todo:
        directory, depth = todo.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _MAX_DEPTH:
                            todo.append((entry.path, depth + 1))
                    elif entry.name.endswith(".so"):
                        if _is_container(entry.path):
                            yield entry.path
                        elif not os.access(entry.path, os.R_OK):
                            tell(entry.path, PermissionError(errno.EACCES, ""))
        except OSError as error:  # mostly: it is not there, or gone meanwhile
            tell(directory, error)


def _is_container(path: str) -> bool:
    from ulp.container import is_container  # 20 ms, for the few packages that have such files at all

    return is_container(path)


def _ignore(path: str, error: OSError) -> None:
    pass
