# SPDX-License-Identifier: GPL-2.0-or-later
"""List the threads that a transition waits for.

One line per thread: process id and thread id. Prints nothing when no transition is going on. What this user may not
look at is counted on standard error.

With -vv a thread's line is followed by the functions that it is in, innermost first, by which of them it has to leave,
and by what can be done about it.

Exit status: 0 when the list is printed, and be it empty.

Examples:
  klp blocking -v
  klp blocking | cut -d' ' -f1 | sort -u
"""

from __future__ import annotations

import os

from host.errors import ExitStatus
from host.names import command
from host.terminal import sanitize
from klp import sysfs
from klp.blocking import Blocking, BlockingThread, find_blocking
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(
        parser, verbose="show the process's command line, too; -vv: and what the thread does in the kernel"
    )


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list."""
    level = max(options.verbose, 1 if options.json else 0)
    blocking = find_blocking(options.root, names=level > 0, commands=level > 0, stacks=level > 1)
    if options.json:
        from host.json_output import write

        write("klp-blocking", fields(blocking))
        return ExitStatus.OK
    print_threads(blocking, level=level)
    if level and not (blocking.threads or blocking.hidden or blocking.silent):
        print("no threads with klp_in_progress set")
    remark(_remarks(blocking, level=level))
    return ExitStatus.OK


def print_threads(blocking: Blocking, *, level: int) -> None:
    """Print the threads as the command does; ``level`` counts the -v."""
    for thread in blocking.threads:
        print(_line(thread, level=level))
        if level > 1:
            from klp.tasks import advice, where

            sentences = (where(thread, patch=blocking.patch, unpatching=blocking.unpatching), advice(thread))
            for line in (*thread.stack, *filter(None, sentences)):
                print(f"    {sanitize(line)}")


def _line(thread: BlockingThread, *, level: int) -> str:
    ids = f"{thread.pid} {thread.tid}"
    if not level:
        return ids
    return f"{ids} {sanitize(' '.join(thread.command) or f'[{thread.name}]')}"


def _remarks(blocking: Blocking, *, level: int) -> list[str]:
    remarks = list(blocking.problems)
    hint = f"; run {command('klp')} as root" if os.geteuid() else ""
    if blocking.hidden:
        threads = "1 thread" if blocking.hidden == 1 else f"{blocking.hidden} threads"
        remarks.append(f"{threads} may not be looked at{hint}")
    remarks += [f"process {pid} gave no answer" for pid in blocking.silent]
    if level > 1:
        unclear = sum(thread.inside is None for thread in blocking.threads)
        if unclear:
            remarks.append(f"it is not known which functions keep {unclear} of them{hint}")
    if blocking.patch and not (blocking.threads or blocking.hidden or blocking.silent):
        remarks.append(
            f"{blocking.patch} is in transition, but no thread in /proc blocks it: "
            "an idle processor does, or a process outside of this container"
        )
    elif level > 1 and blocking.threads:
        path = f"/{sysfs.DIRECTORY}/{blocking.patch}/enabled"
        remarks.append(f"'echo {int(blocking.unpatching)} > {path}' takes the transition back")
    return remarks


def fields(blocking: Blocking) -> dict[str, object]:
    """Return the fields of docs/json.md."""
    threads = []
    for thread in blocking.threads:
        inside = None if thread.inside is None else [each._asdict() for each in thread.inside]
        threads.append(thread._asdict() | {"inside": inside})
    return blocking._asdict() | {"threads": threads}
