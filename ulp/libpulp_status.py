# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit statuses of libpulp's ``ulp`` (0.3.17), for scripts that know them: ``--libpulp-exit-status``.

``trigger`` there ends with the error numbers of all processes, or-ed and cut to 8 bits (its tools/trigger.c); which
of our reasons is which of them (its include/error_common.h) is decided here.
"""

from __future__ import annotations

import errno
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from host.errors import Error, ExitStatus, UsageError
from ulp.result import Reason, Result

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser

    _Run = Callable[[argparse.Namespace], int]

NO_METADATA: Final = 269  # "No metadata in .so", for a container that cannot be read, too

# What libpulp calls the reason; 0 for success, and for a process that it passes over without a word.
NUMBERS: Final = {
    Reason.APPLIED: 0,
    Reason.REPLACED: 0,
    Reason.REVERTED: 0,
    Reason.WOULD_CHANGE: 0,
    Reason.ALREADY_APPLIED: 275,  # Patch already applied
    Reason.NOT_APPLIED: 272,  # Patch not applied
    Reason.NOTHING_TO_CHANGE: 0,
    Reason.NO_SUCH_LIBRARY: 276,  # Target library not loaded
    Reason.STATIC_BINARY: 0,
    Reason.BUILD_ID_MISMATCH: 257,  # Build ID mismatch
    Reason.KERNEL_THREAD: 0,
    Reason.PROCESS_GONE: 0,
    Reason.PROCESS_ONE: 0,
    Reason.EXCLUDED: 0,
    Reason.DISABLED: 280,  # Livepatching blocked by user request
    Reason.NO_LIBPULP: 0,
    Reason.LOADED_TWICE: errno.EINVAL,
    Reason.OTHER_ARCHITECTURE: 0,
    Reason.FUNCTION_TOO_SHORT: 278,  # Function is not livepatchable
    Reason.FUNCTION_NOT_PATCHABLE: 278,
    Reason.UNSUPPORTED_CONTAINER: 266,  # Invalid .ulp file
    Reason.UNRESOLVED_SYMBOL: 287,  # Failure in dlopen
    Reason.ALREADY_TRACED: 0,
    Reason.NOT_PERMITTED: 0,
    Reason.SECCOMP: 283,  # Page permission error
    Reason.MEMORY_SEALED: 283,
    Reason.NO_MEMORY: errno.ENOMEM,
    Reason.NO_DESCRIPTOR: 287,  # dlopen() opens a file as well
    Reason.NO_ROOM: errno.ENOMEM,
    Reason.STACK_BUSY: errno.EAGAIN,
    Reason.OUT_OF_ORDER: 273,  # Dependency failure
    Reason.LOADING: errno.EAGAIN,
    Reason.NOT_RUNNING: errno.ETIME,
    Reason.INTERRUPTED: errno.EINTR,
    Reason.NOT_VISIBLE: 287,
    Reason.LIBPULP: 270,  # State update failure
    Reason.NO_END: errno.ETIME,
    Reason.LOCKED: errno.EAGAIN,
    Reason.DAMAGED: 271,  # Unable to retrieve ulp state
    Reason.INTERNAL: errno.EIO,
}
# What libpulp counts as skipped; these do not enter the exit status.
SKIPPED: Final = frozenset({257, 275, 276, 280, 284})


def add_option(parser: Parser) -> None:
    """Declare --libpulp-exit-status."""
    group = parser.add_argument_group("For scripts written for libpulp's ulp")
    group.add_argument("--libpulp-exit-status", action="store_true", help="end with its exit statuses")
    parser.young("--libpulp-exit-status")


def of_results(results: Iterable[Result]) -> int:
    """Return how libpulp's trigger ends, unless a wildcard was given: then it ends with 0 whatever happens."""
    numbers = (NUMBERS[result.reason] for result in results)
    return functools.reduce(operator.or_, (each for each in numbers if each not in SKIPPED), 0) & 0xFF


@contextmanager
def errors_as(
    options: argparse.Namespace, number: int, *, special: Mapping[ExitStatus, int] | None = None
) -> Iterator[None]:
    """Let the errors that users see end the command with libpulp's number, if its numbers are wanted.

    ``special`` are numbers for errors with certain statuses. What was decided further inside stays.
    """
    try:
        yield
    except UsageError:  # 64 there, too
        raise
    except Error as error:
        if options.libpulp_exit_status and error.foreign_status is None:
            error.foreign_status = (special or {}).get(error.status, number) & 0xFF
        raise


def translated(
    *,
    errors: int,
    special: Mapping[ExitStatus, int] | None = None,
    answers: Mapping[int, int] | None = None,
) -> Callable[[_Run], _Run]:
    """Decorate what runs a command: its ``errors`` (and ``special`` ones) and ``answers`` in libpulp's numbers."""

    def decorate(run: _Run) -> _Run:
        @functools.wraps(run)
        def wrapped(options: argparse.Namespace) -> int:
            with errors_as(options, errors, special=special):
                status = run(options)
            return (answers or {}).get(status, status) if options.libpulp_exit_status else status

        return wrapped

    return decorate
