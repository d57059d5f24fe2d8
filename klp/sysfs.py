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
_CHUNK = 1 << 18  # bytes of one read
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


def numbers(path: str) -> list[int]:
    """Return the names in a directory that are numbers, ascending, as tasks' are; none if it is gone.

    Raises NotPermittedError or BadDataError if it cannot be listed.
    """
    try:
        names = os.listdir(path)
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise _unreadable(path, error) from None
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def raw(path: str) -> bytes | None:
    """Return the first bytes of a file, all there is in one that holds a number; None if it is gone.

    Never waits, whatever the file is: in a saved tree it could be a pipe. Raises NotPermittedError or
    BadDataError if it cannot be read.
    """
    try:
        return _read(path, _LONGEST)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _unreadable(path, error) from None


def number(path: str) -> int | None:
    """Return the decimal number that is all there is in a file; None if the file is gone.

    Raises BadDataError if the text is no number, and what ``raw`` raises.
    """
    content = raw(path)
    return None if content is None else parse(content, path)


def parse(content: bytes, path: str) -> int:
    """Return the number that was read from a file; raises BadDataError if it is none."""
    digits = content.strip()
    if not digits.removeprefix(b"-").isdigit() or len(content) == _LONGEST:
        from host.errors import BadDataError

        raise BadDataError(f"{path} should hold a number and holds {digits.decode(errors='replace')!r}")
    return int(digits)


def text(path: str, *, most: int = _MOST_TEXT) -> str:
    """Return what a file of /proc holds, up to so many bytes.

    Empty if it cannot be read, since what it tells is an extra. Never waits, as ``number`` does not.
    """
    try:
        return whole(path, most=most).decode(errors="replace")
    except OSError:
        return ""


def whole(path: str, *, most: int = _MOST_TEXT) -> bytes:
    """Return what a file holds, up to so many bytes; raises OSError. Never waits.

    Reads on where one read(2) gives no more than a page, as it does for lists in /proc.
    """
    descriptor = _open(path)
    try:
        parts: list[bytes] = []
        while most > 0 and (part := os.read(descriptor, min(most, _CHUNK))):
            parts.append(part)
            most -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


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
