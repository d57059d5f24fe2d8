# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that nobody but root can have written: what is done to all processes without a question comes from no others.

Looked at on the way, directory by directory (openat(2)), and read from the very descriptor that was looked at: what
somebody puts in its place meanwhile is not what is read.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from host.errors import BadDataError, NoInputError
from host.files import as_error, read_descriptor

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_SPECIAL: Final = {stat.S_ISUID: "setuid", stat.S_ISGID: "setgid"}
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UntrustedError(BadDataError):
    """Somebody else than root may have written it."""


def read_trusted(path: str, *, root: str = "/", limit: int) -> bytes:
    """Return what is in a file under a root, ``path`` being absolute as seen inside; at most ``limit`` bytes.

    Raises UntrustedError where it, or a directory on the way from the root, belongs to another user, can be written
    by its group or by others, or is a symbolic link, and where it is a special file; NoInputError,
    NotPermittedError or BadDataError where it cannot be read.
    """
    *directories, name = path.strip("/").split("/")
    place, here = root, -1
    try:
        here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _check_owner(root, os.fstat(here))
        for directory in directories:
            place = os.path.join(place, directory)
            inner = os.open(directory, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
            _check_owner(place, os.fstat(here))
        place = os.path.join(place, name)
        # a FIFO or a device must not be opened for reading: the kind is known before
        _check_file(place, os.stat(name, dir_fd=here, follow_symlinks=False))
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=here
        )
        _check_file(place, os.fstat(descriptor))
        return read_descriptor(place, descriptor, limit=limit)
    except NotADirectoryError as error:
        if os.path.islink(place):
            raise UntrustedError(f"{place} is a symbolic link: only what is really there counts") from error
        raise NoInputError(f"{place} is no directory") from error
    except OSError as error:
        raise as_error(place, error) from error
    finally:
        if here >= 0:
            os.close(here)


def _check_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise UntrustedError(f"{path} is a symbolic link: only what is really there counts")
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedError(f"{path} is no regular file")
    for bit, word in _SPECIAL.items():
        if status.st_mode & bit:
            raise UntrustedError(
                f"{path} is {word} (mode {status.st_mode & 0o7777:04o}), which no live patch has to be"
            )
    _check_owner(path, status)


def _check_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid != 0:
        raise UntrustedError(f"{path} belongs to user {status.st_uid}, not to root")
    if status.st_mode & _OTHERS:
        whom = "others" if status.st_mode & stat.S_IWOTH else "its group"
        raise UntrustedError(f"{path} can be written by {whom} (mode {status.st_mode & 0o7777:04o})")
