# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into libpulp while its process stands, and the writes that they ask for: all of them, or none.

All threads stand at first, as libpulp needs it: its look at the locks of allocator and dynamic linker must not be
overtaken by another thread. Loading a container runs its constructors, which may wait for one of those threads; so
after a while all but the calling thread are let go, and stopped once more when the call has returned.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Container, Sequence
from typing import Final, NamedTuple

from host.procfs import Mapping
from ulp.engines.pulp import abi, abort, queue, volunteer
from ulp.engines.pulp.call import Caller, Crashed, Place, function_of_stub
from ulp.engines.pulp.library import Libpulp
from ulp.memory import Unreadable, Unwritable
from ulp.process import Object, Process
from ulp.result import Damaged, Reason, Refusal
from ulp.standstill.borrow import ignored_signals
from ulp.standstill.busy import Watch
from ulp.standstill.stop import Momentary, Pause, while_standing
from ulp.tracee import Thread

_ALL_STAND: Final = 0.02  # seconds that a call may take while all threads stand
_SHORT_CALL: Final = 1.0  # seconds for a call that runs no foreign code
_PERSISTENCE: Final = (
    10.0  # seconds in which a process that was let go for a long call has to be stopped again
)
_REST: Final = 0.002


class Step(NamedTuple):
    """One call: what the metadata buffer holds for it, and for what takes it back (empty where nothing does)."""

    metadata: bytes
    undo: bytes
    patch_id: bytes


class Operation:
    """The steps of one change of one process; ``run`` has to be called in the tracing thread."""

    def __init__(
        self,
        process: Process,
        libpulp: Libpulp,
        steps: Sequence[Step],
        *,
        objects: Sequence[Object],
        place: Place,
        entries: Container[int],
        watch: Watch,
        before: Callable[[], None],
        suspend_seccomp: bool,
    ) -> None:
        """``entries``: the functions that change. ``before`` is called when all stand, and raises what forbids it."""
        self._process = process
        self._memory = process.memory
        self._libpulp = libpulp
        self._steps = steps
        self._objects = objects
        self._linker_data = volunteer.linker_data(objects)
        self._place = place
        self._entries = entries
        self._watch = watch
        self._before = before
        self._suspend_seccomp = suspend_seccomp
        self._function = function_of_stub(self._memory, libpulp.symbols[abi.TRIGGER])
        self._queue = libpulp.symbols[abi.INSTRUCTIONS]
        self._ignored = 0  # signals
        self._threads: list[Thread] = []
        self._callers: list[Caller] = []
        self._done = 0  # steps
        self._slow: Caller | None = None
        self._result: int | None = (
            None  # of the first call, when others than its own thread have run meanwhile
        )

    def run(self, *, deadline: float, cancelled: Callable[[], bool]) -> Pause:
        """Carry the steps out; returns how long the process stood. ``deadline`` is of time.monotonic.

        Raises Refusal, Momentary and what ``before`` raises with everything as it was, and Gone and MemoryGone.
        """
        self._ignored = ignored_signals(self._process.pid)
        try:
            pause = self._stand(self._begin)
            if self._slow is not None:
                self._result = self._wait_for_slow(self._slow, deadline, cancelled)
            if (result := self._result) is not None:
                pause = _sum(pause, self._stand_at_last(lambda: self._carry_on(result)))
            return pause
        finally:
            for caller in self._callers:
                caller.send_signals(self._process.pid)

    def _stand(self, act: Callable[[], None]) -> Pause:
        self._threads = []
        return while_standing(
            self._process.pid, look=self._look, act=act, suspend_seccomp=self._suspend_seccomp
        )

    def _look(self, threads: list[Thread]) -> None:
        self._watch.look(threads)
        self._threads += threads

    def _begin(self) -> None:
        self._before()
        volunteer.refuse_contended(self._threads, self._linker_data)
        caller = self._new_caller()
        if not self._suspend_seccomp:
            loads = any(step.undo for step in self._steps)
            volunteer.refuse_filtered(self._process.pid, caller.thread, pc=self._place.code, loads=loads)
        self._ask(caller, self._steps[0].metadata)
        result = self._answer(caller, _ALL_STAND, self._steps[0])
        if result is None:
            caller.thread.kept = True  # a stop that nobody has seen yet must not end in its being let go
            self._slow = caller
        elif caller.has_company:
            # what the container has started runs already, perhaps where bytes are to change
            caller.give_back()
            self._result = result
        else:
            self._go_through(caller, result)

    def _carry_on(self, result: int) -> None:
        """Go on when the first call has returned and the threads that ran meanwhile stand."""
        caller = self._new_caller()
        try:
            if result == 0:
                self._before()
        except BaseException:
            self._take_back(caller)
            raise
        self._go_through(caller, result)

    def _new_caller(self) -> Caller:
        thread = volunteer.choose(self._process.pid, self._memory, self._threads)
        self._callers.append(Caller(self._memory, thread, self._place, ignored=self._ignored))
        return self._callers[-1]

    def _ask(self, caller: Caller, metadata: bytes) -> None:
        self._memory.write(self._libpulp.symbols[abi.METADATA], metadata)
        caller.start(self._function)

    def _answer(self, caller: Caller, seconds: float, step: Step) -> int | None:
        """Return what a call returned, None when it takes longer; raises Refusal when it does not end well."""
        try:
            return caller.wait(seconds)
        except Crashed as crash:
            self._abort(caller, step)
            raise Refusal(Reason.LIBPULP, f"loading the container ended in {crash}") from crash

    def _abort(self, caller: Caller, step: Step) -> None:
        abort.abort(self._process, self._libpulp, caller, patch_id=step.patch_id, objects=self._objects)

    def _go_through(self, caller: Caller, result: int) -> None:
        """Do what the call asks for that has returned ``result``, then the other steps; all or nothing."""
        try:
            self._finish(result)
            for step in self._steps[1:]:
                self._ask(caller, step.metadata)
                following = self._answer(caller, _SHORT_CALL, step)
                if following is None:
                    following = caller.halt()
                if following is None:
                    raise self._ended(caller, step, Reason.NO_END)
                self._finish(following)
        except BaseException:
            self._take_back(caller)
            raise
        caller.give_back()

    def _finish(self, result: int) -> None:
        if result == abi.EAGAIN:
            raise Momentary(Reason.LOADING, "a thread is allocating memory or loading a library")
        if result:
            raise Refusal(Reason.LIBPULP, f"libpulp in the process says: {abi.sentence(result)}")
        self._execute()
        self._done += 1

    def _execute(self) -> None:
        try:
            carry_out(self._process, self._libpulp, entries=self._entries)
        except (Damaged, Unreadable) as error:
            raise Refusal(Reason.LIBPULP, str(error)) from error
        except Unwritable as error:
            raise Refusal(Reason.MEMORY_SEALED, f"the kernel refuses to write ({error})") from error

    def _take_back(self, caller: Caller) -> None:
        """Undo what was done and what was begun, and give the thread back. What cannot be undone stays."""
        try:
            self._empty_queue()
            for step in reversed(self._steps[: self._done + 1]):
                if step.undo and self._is_applied(step.patch_id):
                    self._memory.write(self._libpulp.symbols[abi.ERROR_STATE], bytes(4))
                    self._ask(caller, step.undo)
                    if caller.wait(_SHORT_CALL) == 0:
                        self._execute()
        finally:
            caller.halt()
            try:
                self._empty_queue()  # with something in it libpulp would take nothing any more
            finally:
                caller.give_back()

    def _empty_queue(self) -> None:
        if not queue.is_empty(self._memory, self._queue):
            queue.clear(self._memory, self._queue)

    def _is_applied(self, patch_id: bytes) -> bool:
        from ulp.engines.pulp import state

        return any(patch.patch_id == patch_id for patch in state.patches(self._memory, self._libpulp))

    def _wait_for_slow(self, caller: Caller, deadline: float, cancelled: Callable[[], bool]) -> int:
        """Return what a call returned for which only its own thread is held; raises Refusal."""
        step = self._steps[0]
        try:
            result = caller.wait(max(deadline - time.monotonic(), 0), given_up=cancelled)
            if result is None:
                result = caller.halt()
            if result is None:
                raise self._ended(caller, step, Reason.INTERRUPTED if cancelled() else Reason.NO_END)
            caller.give_back()
        except Crashed as crash:
            self._abort(caller, step)
            raise Refusal(Reason.LIBPULP, f"loading the container ended in {crash}") from crash
        finally:
            caller.thread.detach()
        return result

    def _ended(self, caller: Caller, step: Step, reason: Reason) -> Refusal:
        """Take a halted thread out of its call; returns why it did not end by itself."""
        if not caller.has_begun:
            caller.give_back()
            return Refusal(Reason.NOT_RUNNING, f"thread {caller.thread.tid} does not get to run (frozen?)")
        self._abort(caller, step)
        detail = "loading the container has not ended in time (a constructor that waits?)"
        return Refusal(reason, detail if reason is Reason.NO_END else "")

    def _stand_at_last(self, act: Callable[[], None]) -> Pause:
        """Stop the process again for what must not be left undone."""
        deadline = time.monotonic() + _PERSISTENCE
        while True:
            try:
                return self._stand(act)
            except Momentary:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_REST)
            self._process.refresh()


def carry_out(process: Process, libpulp: Libpulp, *, entries: Container[int] = ()) -> None:
    """Write what libpulp's queue asks for and empty it; everything has to stand.

    ``entries`` are addresses of functions of libraries, as far as they are known. Raises Damaged and Unreadable with
    nothing written, Unwritable.
    """

    def mappings() -> Sequence[Mapping]:  # with what has just been loaded
        process.refresh()
        return process.mappings

    address = libpulp.symbols[abi.INSTRUCTIONS]
    writes = queue.settled(queue.read(process.memory, address, head=libpulp.queue_head))
    queue.refuse_foreign(process.memory, writes, entries=entries, mappings=functools.cache(mappings))
    for write in writes:
        process.memory.write(write.address, write.data)
    queue.clear(process.memory, address)


def _sum(first: Pause, second: Pause) -> Pause:
    return Pause(
        whole=first.whole + second.whole,
        running=max(first.running, second.running),
        threads=max(first.threads, second.threads),
    )
