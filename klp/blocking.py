# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads that a live patch's transition still waits for.

While a transition goes on, /proc/PID/task/TID/patch_state says where that thread stands: 0 unpatched, 1
patched, -1 not taking part (the kernel's Documentation/livepatch/livepatch.rst). A thread blocks as long
as it does not stand where the live patch's ``enabled`` points to. Idle tasks take part too, but have no
entry in /proc.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from host.errors import BadDataError, Error, NoInputError, NotPermittedError
from klp import sysfs
from klp.patience import read_each


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockingThread:
    """A thread that has not changed over yet."""

    pid: int
    tid: int
    name: str  # untrusted, as is the command line
    command: tuple[str, ...] = ()  # the process's arguments; none for a kernel thread, or when not asked for
    stack: tuple[str, ...] = ()  # kernel functions, innermost first; none if the kernel does not tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocking:
    """What a transition waits for; ``patch`` is empty if none is going on."""

    patch: str = ""
    unpatching: bool = False
    threads: tuple[BlockingThread, ...] = ()
    hidden: int = 0  # threads whose state this user may not see
    silent: tuple[int, ...] = ()  # processes that gave no answer in time
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Transition:
    patch: str
    target: int  # the state that all threads are to reach


def find_blocking(
    root: str | os.PathLike[str] = "/", *, commands: bool = False, stacks: bool = False, tries: int = 3
) -> Blocking:
    """Return the threads that block the transition which is going on in the tree ``root``.

    ``commands`` and ``stacks`` say what else is read of each. If the transition turns round meanwhile,
    they are read again, ``tries`` times in all. Raises what sysfs.in_transition raises, and BadDataError
    if the tree shows more than one transition (the kernel has one at a time) or the direction cannot be
    read.
    """
    top = os.fspath(root)
    transition, problems = _transition(top)
    while transition is not None:
        blocking, before, tries = _scan(top, transition), transition, tries - 1
        transition, problems = _transition(top)
        if transition == before or (transition is not None and tries <= 0):
            described = _describe(top, blocking.threads, commands=commands, stacks=stacks)
            return replace(blocking, threads=described, problems=problems + blocking.problems)
    return Blocking(problems=problems)


def _transition(root: str) -> tuple[_Transition | None, tuple[str, ...]]:
    names, problems = sysfs.in_transition(root)
    sentences = tuple(problem.sentence for problem in problems)
    if len(names) > 1:
        raise BadDataError(
            f"{sysfs.livepatch_directory(root)} shows several transitions at once: {' '.join(names)}"
        )
    target = (
        sysfs.number(os.path.join(sysfs.livepatch_directory(root), names[0], "enabled")) if names else None
    )
    return (None if target is None else _Transition(names[0], target)), sentences


def _scan(root: str, transition: _Transition) -> Blocking:
    proc = os.path.join(root, "proc")
    pids = _numbers(sysfs.directories(proc))
    if not pids:
        raise NoInputError(f"{proc} shows no processes", hint="mount it: mount -t proc proc /proc")
    answers, silent = read_each(lambda pid: _scan_process(f"{proc}/{pid}/task", transition.target), pids)
    return Blocking(
        patch=transition.patch,
        unpatching=transition.target == 0,
        threads=tuple(
            BlockingThread(
                pid=pid, tid=tid, name=sysfs.text(f"{proc}/{pid}/task/{tid}/comm").removesuffix("\n")
            )
            for pid, found in answers
            for tid in found.blocking
        ),
        hidden=sum(found.hidden for _, found in answers),
        silent=tuple(silent),
        problems=tuple(problem for _, found in answers for problem in found.problems),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What the threads of one process are like."""

    blocking: tuple[int, ...] = ()
    hidden: int = 0
    problems: tuple[str, ...] = ()


def _scan_process(tasks: str, target: int) -> _Found:
    blocking: list[int] = []
    hidden = 0
    problems: list[str] = []
    try:
        tids = _numbers(sysfs.directories(tasks))
    except NotPermittedError:
        return _Found(hidden=1)
    for tid in tids:
        try:
            state = sysfs.number(f"{tasks}/{tid}/patch_state")
        except NotPermittedError:
            hidden += 1
        except Error as problem:
            problems.append(problem.sentence)
        else:
            if state is not None and state >= 0 and state != target:
                blocking.append(tid)
    return _Found(tuple(blocking), hidden, tuple(problems))


def _describe(
    root: str, threads: tuple[BlockingThread, ...], *, commands: bool, stacks: bool
) -> tuple[BlockingThread, ...]:
    proc = os.path.join(root, "proc")

    def describe(thread: BlockingThread) -> BlockingThread:
        command = sysfs.text(f"{proc}/{thread.pid}/cmdline").rstrip("\0") if commands else ""
        stack = sysfs.text(f"{proc}/{thread.pid}/task/{thread.tid}/stack") if stacks else ""
        return replace(
            thread, command=tuple(command.split("\0")) if command else (), stack=tuple(stack.splitlines())
        )

    if not (commands or stacks):
        return threads
    described, undescribed = read_each(describe, threads)
    everyone = [thread for _, thread in described] + undescribed
    return tuple(sorted(everyone, key=lambda thread: (thread.pid, thread.tid)))


def _numbers(names: list[str] | None) -> list[int]:
    return sorted(int(name) for name in names or () if name.isascii() and name.isdecimal())
