# SPDX-License-Identifier: GPL-2.0-or-later
"""The reads that every klp command makes: small numbers under /sys/kernel/livepatch and /proc.

``klp status`` and ``klp check`` need no other and are run by scripts all day, so it imports only what is loaded
when Python starts, and host.errors when there is one. Formats: the kernel's
Documentation/ABI/testing/sysfs-kernel-livepatch.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # typing's own would cost more than all that klp status does
if TYPE_CHECKING:
    from host.errors import Error

DIRECTORY = "sys/kernel/livepatch"

# kernfs answers ENODEV for a file whose directory is being removed, procfs ESRCH for a task that is exiting
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ESRCH)
_LONGEST = 32  # bytes; the longest 64-bit number has 20
_MOST_TEXT = 1 << 18  # bytes of a command line, a stack, a list of modules


def livepatch_directory(root: str) -> str:
    """Return the path of the live patches' directory in the tree ``root``."""
    return os.path.join(root, DIRECTORY)


def patch_names(root: str) -> list[str] | None:
    """Return the names of the kernel's live patches, sorted; None if the kernel has no live patching.

    Raises NoInputError if ``root`` is no directory, NotPermittedError if it may not be read.
    """
    names = directories(livepatch_directory(root))
    if names is None and not os.path.isdir(root):
        from host.errors import NoInputError

        raise NoInputError(
            f"{root} is not a directory", hint="name the top of a saved tree, the one that holds sys/"
        )
    return names


def directories(path: str) -> list[str] | None:
    """Return the names of the directories in a directory, sorted; None if it is gone.

    Raises NotPermittedError or BadDataError if it cannot be listed.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _unreadable(path, error) from None


def number(path: str) -> int | None:
    """Return the decimal number that is all there is in a file; None if the file is gone.

    Never waits, whatever the file is: in a saved tree it could be a pipe. Raises BadDataError if the text is
    no number, NotPermittedError or BadDataError if it cannot be read.
    """
    try:
        digits = _read(path, _LONGEST).strip()
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _unreadable(path, error) from None
    if not digits.removeprefix(b"-").isdigit() or len(digits) == _LONGEST:
        from host.errors import BadDataError

        raise BadDataError(f"{path} should hold a number and holds {digits.decode(errors='replace')!r}")
    return int(digits)


def text(path: str, *, most: int = _MOST_TEXT) -> str:
    """Return what a file of /proc holds, up to so many bytes.

    Empty if it cannot be read, since what it tells is an extra. Never waits, as ``number`` does not.
    """
    try:
        return _read_all(path, most).decode(errors="replace")
    except OSError:
        return ""


def in_transition(root: str) -> tuple[list[str], list[Error]]:
    """Return the live patches whose transition is going on, and what could not be read.

    A live patch that vanishes meanwhile has none any more; without live patching there are no transitions.
    """
    moving: list[str] = []
    problems: list[Error] = []
    for name in patch_names(root) or ():
        try:
            if number(os.path.join(livepatch_directory(root), name, "transition")):
                moving.append(name)
        except _error() as problem:  # evaluated only when something was raised
            problems.append(problem)
    return moving, problems


def _error() -> type[Error]:
    from host.errors import Error

    return Error


def _unreadable(path: str, error: OSError) -> Error:
    from host.errors import BadDataError, NotPermittedError

    kind = NotPermittedError if isinstance(error, PermissionError) else BadDataError
    return kind(f"{path} cannot be read: {error.strerror}")


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def _read(path: str, most: int) -> bytes:
    descriptor = _open(path)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _read_all(path: str, most: int) -> bytes:
    """Read on where one read(2) gives no more than a page, as it does for lists in /proc."""
    descriptor = _open(path)
    try:
        content = b""
        while len(content) < most and (part := os.read(descriptor, most - len(content))):
            content += part
        return content
    finally:
        os.close(descriptor)
