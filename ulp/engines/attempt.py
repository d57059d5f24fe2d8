# SPDX-License-Identifier: GPL-2.0-or-later
"""One change of one process as both engines go about it: locked, tried again while it is hindered, never raising."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from host import procfs
from host.errors import BadDataError
from ulp.engines import Change, Settings
from ulp.image import Image
from ulp.memory import MemoryGone, Unreadable, Unwritable
from ulp.process import Loading, Process
from ulp.result import BusyCall, Damaged, Reason, Refusal, Result, defect
from ulp.standstill.borrow import DirtyCave, clean_cave
from ulp.standstill.lock import locked
from ulp.standstill.stop import Momentary, refusal_if_traced
from ulp.tracee import Gone

_SHORTEST_REST: Final = 0.001  # seconds between two tries
_LONGEST_REST: Final = 0.1
_LONGEST_MOMENT: Final = 0.005  # the same when the next moment may do
_PROGRAMS: Final = 5  # programs that a process may run one after the other while it is looked at
_MOMENTARY: Final = 5.0  # seconds after which what should last a moment counts as lasting


class Busy(Exception):
    """A stack holds a function that is to change, and consistency is strict."""

    def __init__(self, sentence: str, calls: tuple[BusyCall, ...] = ()) -> None:
        super().__init__(sentence)
        self.calls = calls


class Attempt(ABC):
    """A change of a process; ``make`` makes it and never raises for what the process is or does."""

    engine: str

    def __init__(
        self,
        images: dict[bytes, Image],
        pid: int,
        change: Change,
        settings: Settings,
        cancelled: Callable[[], bool],
    ) -> None:
        self._images = images
        self._cancelled = cancelled
        self._pid = pid
        self._change = change
        self._settings = settings
        self._name = ""
        self._library = ""
        self._deadline = time.monotonic() + settings.timeout

    @abstractmethod
    def _once(self, process: Process) -> Result:
        """Try once; raises Busy, Momentary, Loading and DirtyCave for another try, and Refusal."""

    @abstractmethod
    def _begin(self) -> None:
        """Forget what belongs to a program that the process does not run any more."""

    @abstractmethod
    def _give_up(self, process: Process) -> None:
        """Take back what unsuccessful tries have left in the process."""

    def make(self) -> Result:
        """Change the process, and the program that it runs by then when it has replaced its program meanwhile."""
        for _ in range(_PROGRAMS):
            try:
                return self._with_process()
            except (OSError, MemoryGone, Gone, Unreadable) as error:
                if isinstance(error, PermissionError):
                    detail = f"its memory may not be opened ({error.strerror})"
                    return self._result(Reason.NOT_PERMITTED, detail=detail)
                if procfs.live_thread(self._pid) is None:
                    break
        else:
            detail = "it replaces its program by another faster than it can be looked at"
            return self._result(Reason.LOADING, detail=detail)
        return self._result(Reason.PROCESS_GONE)

    def _with_process(self) -> Result:
        """Look at the process as it is now and change it; raises what its end or a new program causes."""
        self._begin()
        try:
            with (
                locked(self._pid, timeout=self._settings.timeout, cancelled=self._cancelled),
                Process(self._pid, images=self._images) as process,
            ):
                self._name = process.name
                try:
                    return self._try(process)
                except BaseException:
                    self._give_up(process)
                    raise
        except Refusal as refusal:
            self._library = self._library or refusal.library
            return self._result(refusal.reason, detail=refusal.detail)
        except Busy as busy:
            return self._result(Reason.STACK_BUSY, detail=str(busy), busy=busy.calls)
        except BadDataError as error:  # tables of the container that nobody has read before
            detail = f"the container is damaged: {error.sentence.rpartition(': ')[2]}"
            return self._result(Reason.UNSUPPORTED_CONTAINER, detail=detail)
        except Damaged as error:
            return self._result(Reason.DAMAGED, detail=f"a record of a live patch cannot be used: {error}")
        except Unwritable as error:
            return self._result(Reason.MEMORY_SEALED, detail=f"the kernel refuses to write ({error})")
        except (OSError, MemoryGone, Gone, Unreadable):
            raise
        except Exception as error:  # a defect met in one process must not keep the others from their patch
            return self._result(Reason.INTERNAL, detail=defect(error))

    def _try(self, process: Process) -> Result:
        """Try until it is done, refused, or the time is over."""
        rest = _SHORTEST_REST
        stops = 0
        begin = time.monotonic()
        while True:
            patient = time.monotonic() < min(begin + _MOMENTARY, self._deadline)
            try:
                return self._if_untraced(self._once(process))
            except Busy:
                stops += 1
                if 1 < self._settings.tries <= stops or time.monotonic() + rest > self._deadline:
                    raise
            except DirtyCave as cave:
                with suppress(Momentary):
                    clean_cave(process, cave.address, cave.size)
                if not patient:
                    raise Refusal(Reason.NOT_RUNNING, "code of a killed ulp is still in use in it") from None
            except Loading:
                if not patient:
                    raise Refusal(Reason.LOADING) from None
            except Momentary as error:
                if not patient:
                    raise Refusal(error.reason, error.detail) from error
                rest = min(rest, _LONGEST_MOMENT)
            if self._cancelled():
                raise Refusal(Reason.INTERRUPTED)
            time.sleep(rest)
            rest = min(rest * 2, _LONGEST_REST)
            process.refresh()

    def _if_untraced(self, result: Result) -> Result:
        """Return what came of it; raises Refusal for a dry run where a real one would meet another tracer."""
        if result.reason is Reason.WOULD_CHANGE and (refusal := refusal_if_traced(self._pid)):
            raise refusal
        return result

    def _result(self, reason: Reason, *, detail: str = "", busy: tuple[BusyCall, ...] = ()) -> Result:
        container = self._change.apply
        return Result(
            pid=self._pid,
            name=self._name or procfs.name(self._pid),
            reason=reason,
            detail=detail,
            container=str(container.path) if container is not None else "",
            library=self._library,
            busy=busy,
            engine=self.engine,
        )
