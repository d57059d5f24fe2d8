# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch processes that start later, when they start.

A live patch is applied to what runs. A program that is started after that loads the library from disk, and as long as
that is the old one it has the old functions: until the library's own update is installed, and on transactional systems
until the next boot. This command waits for programs that start and libraries that are opened (the kernel tells), and
applies the newest live patch that an installed package has for what they map, usually within a few hundredths of a
second. At its start it looks at all processes once.

Only live patches of installed packages are applied, whose files nobody but root can have written; who is named
in /etc/zypp-livepatch/exclude.d is left out. As soon as it listens, it gives up every privilege but to look into
processes and to change them. It runs until it is ended, usually as zypp-livepatch-watch.service:
systemctl enable --now zypp-livepatch-watch. SIGHUP lets it look at all processes once more.

Exit status: 0 when it was ended (SIGTERM, SIGINT), 69 where the kernel does not tell of processes that start, 75 when
another one runs, 77 for users other than root.

Examples:
  ulp watch
  ulp watch --json
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from host.errors import ExitStatus, NotPermittedError
from host.terminal import sanitize

if TYPE_CHECKING:
    import argparse

    from ulp.watch.watcher import Told

# sd-daemon(3): what a line on standard error begins with, where the journal reads it
_PRIORITIES = {"failed": 4, "problem": 4, "patched": 7}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``ulp watch`` understands."""
    add = parser.add_argument
    add("-q", "--quiet", action="store_true", help="say only what goes wrong")
    add("--json", action="store_true", help="for programs (docs/json.md): one object a line")


def run(options: argparse.Namespace) -> ExitStatus:
    """Watch until a signal comes."""
    if os.geteuid() != 0:
        raise NotPermittedError("only root may change other users' processes", hint="Try again with sudo.")
    from ulp.watch import privileges
    from ulp.watch.presence import Presence
    from ulp.watch.watcher import END, SURVEY, Watcher

    gc.set_threshold(10_000)  # this one lives long
    wake, orders = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number, word in ((signal.SIGTERM, END), (signal.SIGINT, END), (signal.SIGHUP, SURVEY)):
        signal.signal(number, functools.partial(_write, orders, word))
    tell = _json if options.json else _teller(quiet=options.quiet)
    watcher = Watcher(presence=Presence(), tell=tell, wake=wake)
    privileges.drop()
    watcher.run()
    return ExitStatus.OK


def _write(descriptor: int, word: bytes, _number: int, _frame: object) -> None:
    try:
        os.write(descriptor, word)
    except BlockingIOError:
        pass


def _teller(*, quiet: bool) -> Callable[[Told], None]:
    in_journal = "JOURNAL_STREAM" in os.environ

    def tell(told: Told) -> None:
        if quiet and told.word not in ("failed", "problem"):
            return
        prefix = f"<{_PRIORITIES.get(told.word, 6)}>" if in_journal else ""
        print(f"{prefix}{sanitize(_sentence(told))}", flush=True)

    return tell


def _sentence(told: Told) -> str:
    if told.result is None:
        return told.sentence
    soon = f", {told.delay * 1000:.0f} ms after its start" if told.delay is not None else ""
    return f"{told.result.name} ({told.result.pid}): {os.path.basename(told.result.container)} applied{soon}"


def _json(told: Told) -> None:
    from host import json_output

    result = told.result
    json_output.write(
        "ulp-watch",
        {
            "event": told.word,
            "sentence": _sentence(told),
            "pid": result.pid if result else None,
            "name": result.name if result else None,
            "container": result.container if result else None,
            "library": result.library if result else None,
            "delay": told.delay,
            "pause": result.pause if result else None,
        },
    )
    sys.stdout.flush()
