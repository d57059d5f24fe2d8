# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of one change in one process: SUCCESS, SKIPPED or ERROR, with one named reason each."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Outcome(enum.StrEnum):
    """The three answers of an engine."""

    SUCCESS = "SUCCESS"
    SKIPPED = "SKIPPED"  # nothing to do here, or left out on purpose
    ERROR = "ERROR"  # should have been changed and was not; the process is as it was


class Reason(enum.StrEnum):
    """Why; the value is the word in JSON, ``sentence`` is what people read when there is no detail."""

    sentence: str
    outcome: Outcome

    def __new__(cls, value: str, sentence: str, outcome: Outcome) -> Reason:
        self = str.__new__(cls, value)
        self._value_ = value
        self.sentence = sentence
        self.outcome = outcome
        return self

    APPLIED = "applied", "patched", Outcome.SUCCESS
    REPLACED = "replaced", "patched, older live patches replaced", Outcome.SUCCESS
    REVERTED = "reverted", "reverted", Outcome.SUCCESS
    WOULD_CHANGE = "would-change", "would be changed (dry run)", Outcome.SUCCESS

    ALREADY_APPLIED = "already-applied", "Patch already applied", Outcome.SKIPPED
    NOT_APPLIED = "not-applied", "Patch not applied", Outcome.SKIPPED
    NOTHING_TO_CHANGE = "nothing-to-change", "the live patch replaces no function", Outcome.SKIPPED
    NO_SUCH_LIBRARY = "no-such-library", "Target library not loaded", Outcome.SKIPPED
    STATIC_BINARY = "static-binary", "static binary, it loads no library", Outcome.SKIPPED
    BUILD_ID_MISMATCH = "build-id-mismatch", "another build of the library is loaded", Outcome.SKIPPED
    KERNEL_THREAD = "kernel-thread", "kernel thread", Outcome.SKIPPED
    PROCESS_GONE = "process-gone", "the process has ended", Outcome.SKIPPED
    PROCESS_ONE = "process-one", "process 1 is left out unless configured", Outcome.SKIPPED
    EXCLUDED = "excluded", "left out on the administrator's request", Outcome.SKIPPED
    DISABLED = "disabled", "Livepatching blocked by user request", Outcome.SKIPPED
    NO_LIBPULP = "no-libpulp", "Libpulp not found in target process", Outcome.SKIPPED

    LOADED_TWICE = "loaded-twice", "the library is loaded more than once", Outcome.ERROR
    OTHER_ARCHITECTURE = "other-architecture", "the process runs code of another architecture", Outcome.ERROR
    FUNCTION_TOO_SHORT = "function-too-short", "a function is too short for a detour", Outcome.ERROR
    FUNCTION_NOT_PATCHABLE = "function-not-patchable", "a function cannot be diverted safely", Outcome.ERROR
    UNSUPPORTED_CONTAINER = "unsupported-container", "the container needs what cannot be done", Outcome.ERROR
    UNRESOLVED_SYMBOL = "unresolved-symbol", "a symbol that the container needs is missing", Outcome.ERROR
    ALREADY_TRACED = "already-traced", "another tracer holds the process", Outcome.ERROR
    NOT_PERMITTED = "not-permitted", "not permitted", Outcome.ERROR
    SECCOMP = "seccomp", "a seccomp filter forbids the system calls that are needed", Outcome.ERROR
    MEMORY_SEALED = "memory-sealed", "the memory cannot be written", Outcome.ERROR
    NO_MEMORY = "no-memory", "the process may map no more memory", Outcome.ERROR
    NO_DESCRIPTOR = "no-descriptor", "the process may open no more files", Outcome.ERROR
    NO_ROOM = "no-room", "no room near the library", Outcome.ERROR
    STACK_BUSY = "stack-busy", "a thread is inside a function that is to change", Outcome.ERROR
    OUT_OF_ORDER = "out-of-order", "a later live patch stands on this one", Outcome.ERROR
    LOADING = "loading", "the dynamic linker is at work in the process", Outcome.ERROR
    NOT_RUNNING = "not-running", "the process cannot run now (frozen or in an endless wait)", Outcome.ERROR
    INTERRUPTED = "interrupted", "the command was interrupted", Outcome.ERROR
    NOT_VISIBLE = "not-visible", "the process does not see the container's file", Outcome.ERROR
    LIBPULP = "libpulp", "libpulp in the process refuses", Outcome.ERROR
    NO_END = "no-end", "loading the container does not end", Outcome.ERROR
    LOCKED = "locked", "another ulp is at work on the process", Outcome.ERROR
    DAMAGED = "damaged", "the process's own record of its live patches cannot be read", Outcome.ERROR
    INTERNAL = "internal", "a defect of ulp", Outcome.ERROR


class BusyCall(NamedTuple):
    """A call that was inside an old function at the stop, and finishes there."""

    function: str
    thread: int


class Result(NamedTuple):
    """What came of one container (or one revert) in one process."""

    pid: int
    name: str  # the process's name, untrusted
    reason: Reason
    detail: str = ""  # a sentence that names function, thread, ids ...; empty: reason.sentence says it all
    container: str = ""  # path of the container that was to be applied; empty for a plain revert
    subject: str = ""  # what people call the change: the container as they named it ...
    library: str = ""  # the target, as the process knows it
    reverted: tuple[str, ...] = ()  # basenames of containers that were taken back in the same stop
    functions: tuple[str, ...] = ()  # the functions that were diverted or restored
    pause: float | None = None  # seconds from the first thread stopped to the last one resumed
    longest_pause: float | None = None  # seconds that the worst single running thread stood still
    threads: int = 0
    busy: tuple[BusyCall, ...] = ()
    engine: str = "direct"

    @property
    def outcome(self) -> Outcome:
        """SUCCESS, SKIPPED or ERROR."""
        return self.reason.outcome

    @property
    def sentence(self) -> str:
        """The reason as people read it."""
        return self.detail or self.reason.sentence


class Refusal(Exception):
    """Raised inside an engine where a change cannot or need not be made; becomes a Result."""

    def __init__(self, reason: Reason, detail: str = "", *, library: str = "") -> None:
        """``library``: the path of the library that it is about, where the engine does not know it otherwise."""
        super().__init__(detail or reason.sentence)
        self.reason = reason
        self.detail = detail
        self.library = library


class Damaged(Exception):
    """What a process says of its own live patches cannot be right."""


def defect(error: BaseException) -> str:
    """Return a sentence for an error that nobody expected: what it is and where it was raised."""
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    file = where.filename.rpartition("/")[2]
    return f"a defect of ulp: {type(error).__name__}: {error} ({file}:{where.lineno})"
