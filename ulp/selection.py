# SPDX-License-Identifier: GPL-2.0-or-later
"""What words of a command line mean: the containers of a path or wildcard, the processes of ``-p``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from host import procfs
from host.errors import BadDataError, Error, ExitStatus, NoInputError, NotPermittedError, UsageError
from ulp.wildcard import SPECIAL, matches

if TYPE_CHECKING:
    from ulp.container import Container


def containers(words: Iterable[str], *, recursive: bool = False, prefix: str = "") -> tuple[Container, ...]:
    """Read the containers that files and quoted wildcards name, each file once, oldest live patch first.

    The paths in the result are real paths with ``prefix`` before them: where a process finds the file. A
    file that is not at its path is read below the prefix. All are read before anything is done with one of
    them; raises as ``paths`` and ``ulp.container.read`` do.
    """
    from ulp.container import read

    def known_as(container: Container) -> Container:
        if not prefix or container.path.startswith(prefix + "/"):
            return container
        from dataclasses import replace  # slow to import, and only trigger -R needs it

        return replace(container, path=prefix + container.path)

    prefix = prefix.rstrip("/")
    found = paths(words, recursive=recursive, prefix=prefix)
    return tuple(known_as(read(path, word=word)) for path, word in found.items())


def paths(words: Iterable[str], *, recursive: bool = False, prefix: str = "") -> dict[str, str]:
    """Return the real paths of the files that the words mean, each with what names it in the words.

    ``x9.so`` comes before ``x10.so``. A wildcard may stand in the last component only and matches names
    that end in ``.so``; ``recursive`` looks below its directory too, through symbolic links as well. Raises
    NoInputError, NotPermittedError, BadDataError or UsageError.
    """
    prefix = prefix.rstrip("/")
    found: dict[str, str] = {}
    for word in words:
        if not word:
            raise UsageError("the path of a container is empty")
        at = word
        if prefix and not os.path.lexists(_fixed_part(word)) and os.path.lexists(prefix + _fixed_part(word)):
            at = prefix + os.path.abspath(word)
        for path in _expand(at, recursive=recursive):
            found.setdefault(os.path.realpath(path), path)
    order = sorted(found, key=lambda path: (natural(os.path.basename(path)), natural(path)))
    return {path: found[path] for path in order}


def natural(text: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """Return a key that sorts texts by their words and the values of their numbers."""
    import re

    words = re.findall(r"([^0-9]*)([0-9]{0,4000})", text)  # int() takes no more than 4300 digits
    return tuple((word, int(number or 0)) for word, number in words), text


def _fixed_part(word: str) -> str:
    """Return the directory of a wildcard, the path itself of a file."""
    return os.path.dirname(word) or "." if _is_wild(word) else word


def _is_wild(word: str) -> bool:
    return not SPECIAL.isdisjoint(word) and not os.path.lexists(word)


def _expand(word: str, *, recursive: bool) -> Iterator[str]:
    if _is_wild(word):
        directory, pattern = os.path.split(word)
    elif os.path.isdir(word):
        if not recursive:
            raise BadDataError(
                f"{word} is a directory",
                hint=f"Write '{os.path.join(word, '*.so')}' in quotes, or add --recursive for all below.",
            )
        directory, pattern = word, "*"
    else:
        yield word  # whatever is wrong with it, reading it will tell
        return
    if not SPECIAL.isdisjoint(directory) and not os.path.isdir(directory):
        raise UsageError(f"{word}: only the last part of a path may hold a wildcard")
    names = list(_matches(directory or ".", pattern, recursive=recursive, seen=set()))
    if not names:
        hint = "" if recursive else "--recursive looks into the directories below, too."
        raise NoInputError(f"no file matches {word}", hint=hint)
    yield from names


def _matches(directory: str, pattern: str, *, recursive: bool, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the files in a directory; ``seen`` (device, inode) are those that a circle of links leads back to."""
    below: list[str] = []
    fits = partial(matches, pattern=pattern, escapes=False)
    try:
        place = os.stat(directory)
        if (place.st_dev, place.st_ino) in seen:
            return
        seen.add((place.st_dev, place.st_ino))
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    below.append(os.path.join(directory, entry.name))
                elif entry.name.endswith(".so") and fits(entry.name) and entry.is_file():
                    yield os.path.join(directory, entry.name)
    except FileNotFoundError as error:
        raise NoInputError(f"there is no directory {directory}") from error
    except NotADirectoryError as error:
        raise BadDataError(f"{directory} is not a directory") from error
    except PermissionError as error:
        raise NotPermittedError(f"{directory} may not be read by this user") from error
    if recursive:
        for path in below:
            yield from _matches(path, pattern, recursive=True, seen=seen)


def processes(
    words: Sequence[str], *, users: Sequence[str] = (), readable: bool = False
) -> tuple[int, ...] | None:
    """Return the pids that the words of ``-p`` and ``-u`` mean, ascending; None for no words: every process.

    A word of digits is a pid (for ``-u`` a uid), every other a pattern as fnmatch(3) knows them: of the
    process's name, where the program's full name, its first argument's and the kernel's own (15
    characters) count alike, or of the owner's name. Patterns leave out kernel threads and this process.
    Raises NoInputError for a pid that is none, NotPermittedError if one must be ``readable`` and is not,
    Error with NOTHING_MATCHED for a pattern.
    """
    if not words and not users:
        return None
    chosen: set[int] = set()
    patterns: dict[str, bool] = {}
    for word in words:
        if word.isascii() and word.isdigit():
            chosen.add(_existing(word, readable=readable))
        else:
            patterns[word] = False
    owned = _owner_filter(users) if users else None
    if patterns or not words:
        matchers = {pattern: _matcher(pattern) for pattern in patterns}
        for pid in procfs.pids():
            if pid == os.getpid():
                continue
            names = _names(pid)
            hits = [pattern for pattern, match in matchers.items() if any(map(match, names))]
            patterns.update(dict.fromkeys(hits, True))
            if hits or (not words and names):
                chosen.add(pid)
        for pattern, matched in patterns.items():
            if not matched:
                raise Error(f"no process is called '{pattern}'", status=ExitStatus.NOTHING_MATCHED)
    return tuple(sorted(pid for pid in chosen if owned is None or owned(pid)))


def _existing(word: str, *, readable: bool) -> int:
    """Return the pid if there is such a process, and this user may look at it if that is asked."""
    pid = int(word[:30])  # longer ones exist nowhere
    if pid == os.getpid():
        raise UsageError(f"process {pid} is this command itself")
    try:
        leader = int(procfs.status(pid)["Tgid"])
    except (OSError, KeyError) as error:
        if not os.path.exists("/proc/self"):
            raise procfs.no_proc() from error
        if _hidden(pid):
            raise _not_ours(pid) from error
        raise NoInputError(f"there is no process {word}") from error
    if leader != pid:
        raise NoInputError(f"{pid} is a thread, not a process", hint=f"Its process is {leader}.")
    if readable:
        try:  # what PTRACE_MODE_READ guards is refused when it is opened, proc(5)
            os.close(os.open(f"/proc/{pid}/maps", os.O_RDONLY))
        except PermissionError as error:
            raise _not_ours(pid) from error
        except OSError:  # it maps nothing: a zombie or kernel thread
            pass
    return pid


def _hidden(pid: int) -> bool:
    """Say whether a process exists though /proc does not show it (mount option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False


def _not_ours(pid: int) -> NotPermittedError:
    return NotPermittedError(f"process {pid} may not be looked at by this user", hint="Try again as root.")


def _names(pid: int) -> set[str]:
    """Return every name that a user may know the process by; none for kernel threads and zombies."""
    try:
        first = procfs.read(f"/proc/{pid}/cmdline").split(b"\0")[0]
    except OSError:
        return set()
    names = {os.path.basename(os.fsdecode(first))}
    try:
        names.add(os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)"))
    except OSError:  # not permitted, or a kernel thread
        pass
    names.discard("")
    return names | {procfs.name(pid)} if names else names


def _matcher(pattern: str) -> Callable[[str], bool]:
    return partial(matches, pattern=pattern)


def _owner_filter(users: Sequence[str]) -> Callable[[int], bool]:
    """Return what tells whether a process's owner (its effective user, proc(5)) is among the users."""
    import pwd

    uids: dict[int, bool] = {}
    matchers = []
    for user in users:
        if user.isascii() and user.isdigit():
            uids[int(user)] = True
            continue
        matchers.append(_matcher(user))
        if SPECIAL.isdisjoint(user):
            try:
                pwd.getpwnam(user)
            except KeyError as error:
                raise NoInputError(f"there is no user '{user}'") from error

    def named(uid: int) -> bool:
        try:
            name = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return False
        return any(match(name) for match in matchers)

    def owned(pid: int) -> bool:
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return False
        if uid not in uids:
            uids[uid] = named(uid)
        return uids[uid]

    return owned
