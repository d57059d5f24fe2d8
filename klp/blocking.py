# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads that a live patch's transition still waits for.

While a transition goes on, /proc/PID/task/TID/patch_state says where that thread stands: 0 unpatched, 1
patched, -1 not taking part (the kernel's Documentation/livepatch/livepatch.rst). A thread blocks as long
as it does not stand where the live patch's ``enabled`` points to. Idle tasks take part too, but have no
entry in /proc.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from host.errors import BadDataError, Error, NoInputError, NotPermittedError
from klp import sysfs
from klp.patience import read_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from klp.stacks import Watch
    from klp.symbols import Symbol

_IDLE = b"-1\n"


class BlockingThread(NamedTuple):
    """A thread that has not changed over yet; what was not asked for, or cannot be told, is empty."""

    pid: int
    tid: int
    name: str = ""  # untrusted, as is the command line
    command: tuple[str, ...] = ()  # the process's arguments; none for a kernel thread
    state: str = ""  # as in /proc/PID/stat: R, S, D, T, t
    kernel_thread: bool = False
    stack: tuple[str, ...] = ()  # kernel functions, innermost first
    inside: tuple[Symbol, ...] | None = None  # functions of the stack that it has to leave; None: not known


class Blocking(NamedTuple):
    """What a transition waits for; ``patch`` is empty if none is going on."""

    patch: str = ""
    unpatching: bool = False
    threads: tuple[BlockingThread, ...] = ()
    looked_at: int = 0  # threads whose state was read
    hidden: int = 0  # threads whose state this user may not see
    silent: tuple[int, ...] = ()  # processes that gave no answer in time
    problems: tuple[str, ...] = ()


class _Transition(NamedTuple):
    patch: str
    target: int  # the state that all threads are to reach


class _Found(NamedTuple):
    """What the threads of one process are like."""

    blocking: list[int]
    looked_at: int
    hidden: int
    problems: list[str]


def find_blocking(
    root: str | os.PathLike[str] = "/",
    *,
    names: bool = True,
    commands: bool = False,
    stacks: bool = False,
    tries: int = 3,
) -> Blocking:
    """Return the threads that block the transition which is going on in the tree ``root``.

    ``names``, ``commands`` and ``stacks`` say what else is read of each; ``commands`` brings what the thread
    does, too. If the transition turns round meanwhile, they are read again, ``tries`` times in all. Raises
    what sysfs.in_transition raises, the first problem if nothing is seen in transition, and BadDataError if
    the tree shows more than one transition (the kernel has one at a time) or the direction cannot be read.
    """
    top = os.fspath(root)
    transition, problems = _transition(top)
    while transition is not None:
        blocking, before, tries = _scan(top, transition), transition, tries - 1
        transition, problems = _transition(top)
        if transition == before or (transition is not None and tries <= 0):
            threads = blocking.threads
            if names or commands or stacks:
                from klp.tasks import describe

                watch = _watch(top, before) if stacks and threads else None
                threads = describe(threads, proc=os.path.join(top, "proc"), commands=commands, watch=watch)
            return blocking._replace(threads=threads, problems=problems + blocking.problems)
    return Blocking(problems=problems)


def _transition(root: str) -> tuple[_Transition | None, tuple[str, ...]]:
    names, problems = sysfs.in_transition(root)
    if problems and not names:
        raise problems[0]
    sentences = tuple(problem.sentence for problem in problems)
    if len(names) > 1:
        raise BadDataError(
            f"{sysfs.livepatch_directory(root)} shows several transitions at once: {' '.join(names)}"
        )
    target = (
        sysfs.number(os.path.join(sysfs.livepatch_directory(root), names[0], "enabled")) if names else None
    )
    return (None if target is None else _Transition(names[0], target)), sentences


def _watch(root: str, transition: _Transition) -> Watch:
    from klp.model import read_patches
    from klp.stacks import watch

    return watch(read_patches(root), patch=transition.patch, unpatching=transition.target == 0, root=root)


def _scan(root: str, transition: _Transition) -> Blocking:
    proc = os.path.join(root, "proc")
    pids = sysfs.numbers(proc)
    if not pids:
        raise NoInputError(f"{proc} shows no processes", hint="mount it: mount -t proc proc /proc")
    settled = b"%d\n" % transition.target
    answers, silent = read_each(
        lambda pid: _scan_process(f"{proc}/{pid}/task", settled, transition.target), pids
    )
    return Blocking(
        patch=transition.patch,
        unpatching=transition.target == 0,
        threads=tuple(BlockingThread(pid=pid, tid=tid) for pid, found in answers for tid in found.blocking),
        looked_at=sum(found.looked_at for _, found in answers),
        hidden=sum(found.hidden for _, found in answers),
        silent=tuple(silent),
        problems=tuple(problem for _, found in answers for problem in found.problems),
    )


def _scan_process(tasks: str, settled: bytes, target: int) -> _Found:
    """Read the state of each thread; most are settled, and compared without becoming a number."""
    blocking: list[int] = []
    looked_at = hidden = 0
    problems: list[str] = []
    try:
        tids = sysfs.numbers(tasks)
    except NotPermittedError:
        return _Found([], 0, 1, [])
    except Error as problem:
        return _Found([], 0, 0, [problem.sentence])
    for tid in tids:
        path = f"{tasks}/{tid}/patch_state"
        try:
            content = sysfs.raw(path)
            if content is None:
                continue
            if content not in (settled, _IDLE):
                state = sysfs.parse(content, path)
                if state >= 0 and state != target:
                    blocking.append(tid)
            looked_at += 1
        except NotPermittedError:
            hidden += 1
        except Error as problem:
            problems.append(problem.sentence)
    return _Found(blocking, looked_at, hidden, problems)
