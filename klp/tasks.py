# SPDX-License-Identifier: GPL-2.0-or-later
"""What a thread that blocks a transition is, what it does, and what can be done about it.

Linux changes a thread over when it returns to user space, or when it sleeps without any of the functions on its
stack, which is looked at once a second. Every 15 seconds it interrupts those that sleep interruptibly, without their
seeing a signal (kernel/livepatch/transition.c).
"""

from __future__ import annotations

from collections.abc import Sequence

from host.procfs import TaskState, parse_stat
from klp import sysfs
from klp.blocking import BlockingThread
from klp.patience import read_each
from klp.stacks import Watch, find_inside
from klp.symbols import KERNEL, Symbol

_GONE = (FileNotFoundError, ProcessLookupError)


def describe(
    threads: Sequence[BlockingThread], *, proc: str, commands: bool, watch: Watch | None
) -> tuple[BlockingThread, ...]:
    """Return the threads with their names; with command lines and states, and with stacks, where asked for.

    One that exits meanwhile, or whose process gives no answer, stays in the list with what is known of it.
    """

    def add(thread: BlockingThread) -> BlockingThread:
        task = f"{proc}/{thread.pid}/task/{thread.tid}"
        thread = thread._replace(name=sysfs.text(f"{task}/comm").removesuffix("\n"))
        if commands or watch:
            state = _state(f"{task}/stat")
            thread = thread._replace(state=state.state, kernel_thread=state.is_kernel_thread)
        if commands:
            words = sysfs.text(f"{proc}/{thread.pid}/cmdline").rstrip("\0")
            thread = thread._replace(command=tuple(words.split("\0")) if words else ())
        if watch:
            stack = _stack(f"{task}/stack")
            inside = None if stack is None else find_inside(stack, watch)
            thread = thread._replace(stack=stack or (), inside=inside)
        return thread

    described, silent = read_each(add, threads)
    return tuple(
        sorted((*(thread for _, thread in described), *silent), key=lambda each: (each.pid, each.tid))
    )


def _state(path: str) -> TaskState:
    try:
        return parse_stat(sysfs.whole(path))
    except (OSError, ValueError):
        return TaskState("", 0)


def _stack(path: str) -> tuple[str, ...] | None:
    """Return the lines, none for a thread that has exited; None if they may not be read."""
    try:
        return tuple(sysfs.whole(path).decode(errors="replace").splitlines())
    except _GONE:
        return ()
    except OSError:
        return None


def where(thread: BlockingThread, *, patch: str, unpatching: bool) -> str:
    """Return which functions the thread has to leave, as a sentence; "" where nobody knows."""
    if thread.inside is None:
        return ""
    if not thread.inside:
        return "it is in none of the functions"
    if unpatching:
        functions = (each.function for each in thread.inside)
        return f"it is in {' and '.join(functions)} of {patch}, which is being taken back"
    return f"it is in {' and '.join(map(_name, thread.inside))}, which {patch} replaces"


def _name(symbol: Symbol) -> str:
    return symbol.function if symbol.object == KERNEL else f"{symbol.function} of {symbol.object}"


def advice(thread: BlockingThread) -> str:
    """Return what the thread waits for and what helps, as a sentence; "" where nothing is known."""
    if thread.kernel_thread:
        return (
            "it is a thread of the kernel: no signal reaches it, it changes over when it leaves the function"
        )
    return {
        "R": "it runs: it changes over when it returns from the kernel",
        "S": "it sleeps, and the kernel interrupts it every 15 s; "
        f"'kill -STOP {thread.pid}; kill -CONT {thread.pid}' does so at once",
        "D": "it waits for another process or a device, and no signal interrupts that: "
        "it changes over when what it waits for comes",
        "T": f"it is stopped: 'kill -CONT {thread.pid}' lets it go on",
        "t": "a debugger holds it: it changes over when it is let go",
    }.get(thread.state, "")
