# SPDX-License-Identifier: GPL-2.0-or-later
"""All threads of a process stand still, for as short as can be.

Threads are a set: everything is seized while the process runs, what a seized thread creates is seized by the kernel,
and no count is ever compared. Threads that sleep are stopped and looked at first, threads that run last, so that work
is interrupted only for its own thread's check and for the change itself.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

from host import procfs
from ulp.arch import x86_64 as arch
from ulp.memory import shares_memory
from ulp.result import Reason, Refusal
from ulp.standstill.tracing import run_apart
from ulp.tracee import Gone, OtherArchitecture, Thread, forget, wait_for_news

Answer = TypeVar("Answer")

_PATIENCE: Final = 0.002  # seconds until a thread that does not stop is asked why
_LONGEST_WAIT: Final = 2.0
_AT_A_TIME: Final = 16
_FELLOW: Final = "ulp"  # libpulp's own tool knows no lock, traces for some 10 ms, and lets go
_TRIES_TO_SEIZE: Final = 4
_ENDED: Final = ""  # the name of a tracer that is gone by now
_FIFO: Final = os.sched_param(1)


class Momentary(Exception):
    """It cannot be done at this instant, and very likely a moment later."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Pause(NamedTuple):
    """How long a process stood still, in seconds."""

    whole: float  # from the first thread asked to stop to the last one let go
    running: float  # the same for the threads that were running
    threads: int


def seize(pid: int, thread: Thread, *, children: bool, suspend_seccomp: bool) -> bool:
    """Begin to trace a thread of a process; False when the thread is gone. Raises Refusal and Momentary."""
    for number in range(1, _TRIES_TO_SEIZE + 1):
        try:
            thread.seize(children=children, suspend_seccomp=suspend_seccomp)
            break
        except Gone:
            return False
        except OSError as error:
            # what was created by one of ours meanwhile is traced by us already
            if procfs.tracer(pid, thread.tid) == threading.get_native_id():
                break
            state = procfs.task_state(pid, thread.tid)
            if state is None or state.state in "ZX":
                return False
            refusal = _refusal_of_seizing(pid, error)
            # a tracer that has let go in between is not seen any more
            if refusal.reason is not Reason.NOT_PERMITTED or number == _TRIES_TO_SEIZE:
                raise refusal from error
    return True


def while_traced(pid: int, tid: int, work: Callable[[], Answer]) -> Answer:
    """Call ``work`` in a thread that traces a thread of a process meanwhile, and does not stop it.

    Only a thread that stands can be let go; one that runs is when its tracer ends. Raises what ``work`` raises, Gone,
    Refusal and Momentary.
    """

    def trace() -> Answer:
        if not seize(pid, Thread(tid), children=False, suspend_seccomp=False):
            raise Gone
        forget(tid)
        return work()

    return run_apart(trace)


def _refusal_of_seizing(pid: int, error: OSError) -> Refusal | Momentary:
    tracer = _foreign_tracer(pid)
    if not tracer:
        detail = f"the system does not permit to trace it ({error.strerror})"
        return Refusal(Reason.NOT_PERMITTED, detail)
    name = procfs.name(tracer)
    refusal = _refusal_of_traced(tracer, name)
    return Momentary(refusal.reason, refusal.detail) if name in {_FELLOW, _ENDED} else refusal


def refusal_if_traced(pid: int) -> Refusal | None:
    """Say who else traces a thread of a process already, None if nobody does."""
    tracer = _foreign_tracer(pid)
    return _refusal_of_traced(tracer, procfs.name(tracer)) if tracer else None


def _refusal_of_traced(tracer: int, name: str) -> Refusal:
    return Refusal(Reason.ALREADY_TRACED, f"process {tracer} ({name}) is tracing it already")


def _foreign_tracer(pid: int) -> int:
    tracers = (procfs.tracer(pid, tid) for tid in procfs.threads(pid))
    return next((tracer for tracer in tracers if tracer not in {0, threading.get_native_id()}), 0)


class _Crew:
    """The threads that have to stand: those of the process, and of children that share its memory."""

    def __init__(self, *, suspend_seccomp: bool) -> None:
        self._suspend_seccomp = suspend_seccomp
        self._seen: set[int] = set()

    def seize(self, pid: int) -> tuple[list[Thread], list[Thread]]:
        """Begin to trace every thread of a process; returns those that sleep and those that run.

        Raises Refusal.
        """
        sleepers: list[Thread] = []
        runners: list[Thread] = []
        while fresh := [tid for tid in procfs.threads(pid) if tid not in self._seen]:
            for tid in fresh:
                self._seen.add(tid)
                state = procfs.task_state(pid, tid)
                if state is None or state.state in "ZX" or state.flags & procfs.NO_USER_CODE:
                    continue
                thread = Thread(tid)
                if seize(pid, thread, children=True, suspend_seccomp=self._suspend_seccomp):
                    (runners if state.state == "R" else sleepers).append(thread)
        if not sleepers and not runners:
            raise Refusal(Reason.PROCESS_GONE)
        return sleepers, runners

    def settle(self, threads: Iterable[Thread]) -> list[Thread]:
        """Stop threads and wait until they stand; returns those that are left, newborn ones included.

        A thread in an uninterruptible wait counts as standing: it executes nothing before it meets the stop. Raises
        Refusal and Momentary.
        """
        standing: list[Thread] = []
        pending = _interrupt(threads)
        begin = time.monotonic()
        while pending:
            waiting: list[Thread] = []
            for thread in pending:
                try:
                    stands = thread.poll_stopped()
                except Gone:
                    continue
                except OtherArchitecture:
                    raise Refusal(Reason.OTHER_ARCHITECTURE) from None
                if stands:
                    standing.append(thread)
                    waiting += self._newborn(thread)
                else:
                    waiting.append(thread)
            if waiting:
                elapsed = time.monotonic() - begin
                if elapsed > _PATIENCE:
                    waiting, stuck = self._sort_out(waiting)
                    standing += stuck
                if waiting and elapsed > _LONGEST_WAIT:
                    raise Refusal(Reason.NOT_RUNNING, f"thread {waiting[0].tid} does not stop")
                if waiting:
                    wait_for_news(_PATIENCE)
            pending = waiting
        return standing

    def _newborn(self, parent: Thread) -> list[Thread]:
        """Return the thread that another one was creating when it stopped: the kernel has seized it, it stops."""
        child, parent.event_child = parent.event_child, 0
        if not child or child in self._seen:
            return []
        self._seen.add(child)
        return [Thread(child)]

    def _sort_out(self, threads: list[Thread]) -> tuple[list[Thread], list[Thread]]:
        """Divide threads that do not stop into those to wait for and those in an uninterruptible wait.

        Whoever waits for a child of vfork(2) gets that child for company: it runs in the same memory.
        """
        waiting, stuck = [], []
        for thread in threads:
            state = procfs.task_state(thread.tid, thread.tid)
            if state is None or state.state in "ZX":
                continue
            if state.state != "D" or not _fill_from_procfs(thread):
                waiting.append(thread)
                continue
            stuck.append(thread)
            if thread.registers[arch.ORIG_RAX] in arch.CREATING_CALLS:
                waiting += self._children_in_same_memory(thread)
        return waiting, stuck

    def _children_in_same_memory(self, parent: Thread) -> list[Thread]:
        try:
            children = procfs.read(f"/proc/{parent.tid}/task/{parent.tid}/children").split()
        except OSError as error:  # a kernel without CONFIG_PROC_CHILDREN
            raise Momentary(
                Reason.STACK_BUSY, f"thread {parent.tid} waits for a child that shares its memory (vfork)"
            ) from error
        asked: list[Thread] = []
        for child in map(int, children):
            if shares_memory(parent.tid, child):
                try:
                    sleepers, runners = self.seize(child)
                except Refusal as refusal:
                    if refusal.reason is not Reason.PROCESS_GONE:
                        raise
                else:
                    asked += _interrupt([*sleepers, *runners])
        return asked


def _interrupt(threads: Iterable[Thread]) -> list[Thread]:
    """Ask threads to stop; returns those that are still there."""
    asked = []
    for thread in threads:
        try:
            thread.interrupt()
        except Gone:
            continue
        asked.append(thread)
    return asked


def _fill_from_procfs(thread: Thread) -> bool:
    """Take program counter and stack pointer of a thread that waits in the kernel from /proc (proc(5), syscall)."""
    try:
        fields = procfs.read(f"/proc/{thread.tid}/syscall").split()
        number, stack, pc = int(fields[0]), int(fields[-2], 16), int(fields[-1], 16)
    except (OSError, ValueError, IndexError):
        return False
    thread.registers[arch.ORIG_RAX] = number & arch.MASK64
    thread.registers[arch.RSP] = stack
    thread.registers[arch.RIP] = pc
    return True


def while_standing(
    pid: int, *, look: Callable[[list[Thread]], None], act: Callable[[], None], suspend_seccomp: bool = False
) -> Pause:
    """Stop all threads, ``look`` at each of them, ``act``, and let them go.

    ``look`` is called for the sleeping threads first, then for all others; whatever it or ``act`` raises lets
    everything go and is passed on. Has to run in a thread of its own (``run_tracing``). Raises Refusal and Momentary.
    """
    clock = time.perf_counter
    crew = _Crew(suspend_seccomp=suspend_seccomp)
    sleepers: list[Thread] = []
    runners: list[Thread] = []
    collecting = gc.isenabled()
    gc.disable()
    policy = None
    begin = running = clock()
    try:
        sleepers, runners = crew.seize(pid)
        begin = clock()
        # a few at a time: those that wake up to stop take turns with the threads that run
        asleep, sleepers = sleepers, []
        for start in range(0, len(asleep), _AT_A_TIME):
            group = crew.settle(asleep[start : start + _AT_A_TIME])
            sleepers += group
            look(group)
        # only now: while it only prepares, the tool must not take a processor away from the process
        policy = _become_urgent()
        running = clock()
        runners = crew.settle(runners)
        if runners:
            look(runners)
        act()
    finally:
        _let_go(thread for thread in runners if not thread.mended)
        runners_gone = clock()
        _become_ordinary(policy)
        _let_go(thread for thread in sleepers if not thread.mended)
        _let_go(_fragile(pid, [*runners, *sleepers]))
        end = clock()
        if collecting:
            gc.enable()
    return Pause(
        whole=end - begin,
        running=(runners_gone - running) if runners else 0.0,
        threads=len(sleepers) + len(runners),
    )


def _fragile(pid: int, threads: Iterable[Thread]) -> list[Thread]:
    """Return the threads to let go last: those in calls that any wake-up ends in EINTR.

    A signal that a process ignores (as most do with SIGCHLD) wakes nobody, unless the thread that it is sent to is
    traced: then the kernel keeps it, and gives it to any other thread that runs (sig_ignored() and complete_signal()
    in kernel/signal.c). So when these go on, no other may be traced still; among them the main thread is the likeliest
    to be sent something.
    """
    return sorted((thread for thread in threads if thread.mended), key=lambda thread: thread.tid != pid)


def _let_go(threads: Iterable[Thread]) -> None:
    for thread in threads:
        if not thread.kept:
            thread.detach()


def _become_urgent() -> tuple[int, os.sched_param] | None:
    """Let nothing else run on this processor while a process stands; returns what was before, None if refused."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, _FIFO)
    except OSError:
        return None
    return before


def _become_ordinary(before: tuple[int, os.sched_param] | None) -> None:
    if before is not None:
        os.sched_setscheduler(0, *before)
