# SPDX-License-Identifier: GPL-2.0-or-later
"""Running zypper, or transactional-update where that changes packages, before the user's eyes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

from host import procfs
from host.errors import Error, ExitStatus

# zypper(8), "EXIT CODES"; below 100 nothing was changed unless it is 8
_MEANINGS = {
    1: "it met a defect of its own",
    2: "it did not understand the command",
    3: "it did not understand the command",
    4: "it could not do it",
    5: "it needs root",
    6: "there are no repositories",
    7: "another zypper is at work",
    8: "an error while packages were installed or removed",
    104: "it did not find the package",
    105: "it was interrupted",
    107: "a script of a package failed",
}
_GOOD = (0, 100, 101, 102, 103, 106)  # 106: a repository was left out, and yet it was done
LOCKED = 7
_RPM = ("rpm", "zypp-rpm")  # libzypp's programs that change packages
_LOOK = 0.1  # seconds between two looks whether somebody wants to stop it


class Finished(NamedTuple):
    """What came of a command; ``status`` is negative for a signal that ended it."""

    status: int
    interrupted: bool = False  # by the person at the terminal

    @property
    def good(self) -> bool:
        """Whether it says that it was done."""
        return self.status in _GOOD


def downgrade_command(packages: Sequence[str], *, transactional: bool) -> tuple[str, ...]:
    """Return what lets packages, NAME=VERSION-RELEASE each, replace newer ones, and asks nobody.

    On a transactional system it continues the newest snapshot: another one would lose what waits there for the
    next boot.
    """
    install = ("install", "--oldpackage", *packages)
    if transactional:
        return ("transactional-update", "--non-interactive", "--continue", "pkg", *install)
    return ("zypper", "--non-interactive", *install)


def run(command: Sequence[str], *, to_errors: bool = False) -> Finished:
    """Run a command to its end; what it prints is seen as it comes, on standard error if ``to_errors``.

    Control-C is passed on to the command when no package is being changed: a terminal would send it to rpm, too, and
    zypper would kill rpm, between the new version and the removal of the old one. So the command gets a process group
    of its own; when the terminal goes away, it goes on. Raises Error where there is no such program.
    """
    asked = told = interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    sys.stdout.flush()
    # The command starts with the default of what has a handler here, and ignores what is ignored (signal(7)). From
    # another group than the foreground's a terminal would stop it: when it writes (stty tostop), and when it reads.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, note)}
    before |= {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTOU, signal.SIGTTIN)}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if to_errors else None,
            process_group=0,
        )
        while True:
            try:
                return Finished(process.wait(_LOOK), interrupted)
            except subprocess.TimeoutExpired:
                if asked and not _changes_packages(process.pid):
                    asked, interrupted = False, True
                    process.send_signal(signal.SIGINT)
                elif asked and not told:
                    told = True
                    sys.stderr.write("A package is being changed: it is stopped after that.\n")
    except OSError as error:
        raise Error(
            f"{command[0]} cannot be run: {os.strerror(error.errno or 0)}; nothing was changed",
            status=ExitStatus.UNAVAILABLE,
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _changes_packages(group: int) -> bool:
    """Tell whether rpm is at work in a process group."""
    for pid in procfs.pids():
        try:
            if os.getpgid(pid) == group and procfs.name(pid) in _RPM:
                return True
        except ProcessLookupError:
            continue
    return False


def explain(command: Sequence[str], finished: Finished) -> str:
    """Return what a bad end of a command means, as a sentence without a dot."""
    if finished.status < 0:
        return f"{command[0]} was ended by signal {-finished.status}"
    said = f"{command[0]} ended with {finished.status}"
    if command[0] != "zypper":
        return said
    return f"{said}: {_MEANINGS.get(finished.status, 'its output says more')}"
