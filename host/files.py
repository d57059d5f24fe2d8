# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that somebody named: read without hanging on what is no file, replaced at once or not at all."""

from __future__ import annotations

import os
import stat
from typing import Final

from host.errors import BadDataError, Error, ExitStatus, NoInputError, NotPermittedError

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def open_regular(path: str) -> int:
    """Open a regular file for reading and return the descriptor.

    Opening a FIFO waits for a writer and opening a device may act on it, so the kind is looked at before;
    and, as the path may change meanwhile, after. Raises NoInputError, NotPermittedError, or BadDataError
    for another kind.
    """
    try:
        _check_kind(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise as_error(path, error) from error
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str, *, limit: int) -> bytes:
    """Return the contents of a regular file of at most ``limit`` bytes; raises as ``open_regular`` does."""
    return read_descriptor(path, open_regular(path), limit=limit)


def read_descriptor(path: str, descriptor: int, *, limit: int) -> bytes:
    """Return what a descriptor of a regular file gives, and close it; ``path`` is for what is raised: BadDataError."""
    try:
        with open(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size  # a hint: a file of /proc has 0, others may grow
            data = file.read(size + 1) if size <= limit else None
            while data is not None and len(data) <= limit and (more := file.read(1 << 16)):
                data += more
    except OSError as error:
        raise as_error(path, error) from error
    if data is None or len(data) > limit:
        raise BadDataError(f"{path}: larger than the {limit >> 20} MiB that are read of such a file")
    return data


def as_error(path: str, error: OSError) -> Error:
    """Turn a failed system call on ``path`` into the error that a user reads."""
    sentence = f"{path}: {os.strerror(error.errno or 0)}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoInputError(sentence)
    if isinstance(error, PermissionError):
        return NotPermittedError(sentence, hint="Try again as root.")
    return BadDataError(sentence)


def _check_kind(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise BadDataError(f"{path}: {_KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a file")


def replace_file(path: str, data: bytes, *, create: bool = False) -> None:
    """Replace the contents of an existing file at once or not at all; mode, owner and attributes stay.

    The new file is written beside the old one and renamed over it; a symbolic link stays and its target is
    replaced. ``create``: a file that is not there is made. Raises NoInputError, NotPermittedError, or Error
    with status CANNOT_CREATE where it cannot be written.
    """
    import tempfile

    real = os.path.realpath(path)
    temporary = ""
    try:
        old = _status(real, missing=create)
        descriptor, temporary = tempfile.mkstemp(prefix=".draft-", dir=os.path.dirname(real))
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if old is None:
                mask = os.umask(0o022)
                os.umask(mask)
                os.fchmod(descriptor, 0o666 & ~mask)
            else:
                _make_alike(descriptor, real, old)
            os.fsync(descriptor)
        os.rename(temporary, real)
        temporary = ""
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary:
            os.unlink(temporary)


def _status(path: str, *, missing: bool) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        if missing:
            return None
        raise


def _make_alike(descriptor: int, path: str, old: os.stat_result) -> None:
    """Give a new file the owner, mode and attributes of another."""
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    for name in os.listxattr(path):
        try:
            os.setxattr(descriptor, name, os.getxattr(path, name))
        except OSError:  # a label that only the system sets
            pass


def write_file(path: str, data: bytes) -> None:
    """Write a file that may be there or not, at once or not at all; what is no file (a FIFO, a device) as it is.

    Raises as ``replace_file`` does.
    """
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # replacing it will tell
        special = False
    if not special:
        replace_file(path, data, create=True)
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: str, error: OSError) -> Error:
    known = as_error(path, error)
    if isinstance(known, BadDataError):
        return Error(known.sentence, status=ExitStatus.CANNOT_CREATE)
    return known
