# SPDX-License-Identifier: GPL-2.0-or-later
"""The one family of errors that users see, and the exit statuses they end in.

The numbers are those of sysexits.h(3head) wherever it has one, so that scripts can tell "your input" from
"your machine"; docs/exit-status.md lists them for users.
"""

from __future__ import annotations

import enum


class ExitStatus(enum.IntEnum):
    """What a command's exit status says."""

    OK = 0
    FAILED = 1  # it ran, and the answer is no
    NOTHING_MATCHED = 2
    PARTLY = 3  # it ran, and the answer is yes for some and no for others
    USAGE = 64
    BAD_DATA = 65  # a file that is not what it should be
    NO_INPUT = 66  # a file or process that is not there
    UNAVAILABLE = 69  # the system lacks something that is needed
    INTERNAL = 70
    CANNOT_CREATE = 73
    BUSY = 75  # try again later
    NOT_PERMITTED = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130


class Error(Exception):
    """A refusal that a user reads: what happened and why in ``sentence``, what to do in ``hint``.

    Raised anywhere, turned into text and an exit status in one place (host/command_line.py).
    """

    status: ExitStatus = ExitStatus.FAILED
    foreign_status: int | None = None  # what to end with instead, for who asked for another tool's numbers

    def __init__(self, sentence: str, *, hint: str = "", status: ExitStatus | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint
        if status is not None:
            self.status = status


class UsageError(Error):
    """The words on the command line do not make a command."""

    status = ExitStatus.USAGE


class BadDataError(Error):
    """A file is truncated, hostile, or of another kind than it should be."""

    status = ExitStatus.BAD_DATA


class NoInputError(Error):
    """A file, directory or process that was named does not exist."""

    status = ExitStatus.NO_INPUT


class NotPermittedError(Error):
    """The system forbids it to this user."""

    status = ExitStatus.NOT_PERMITTED
