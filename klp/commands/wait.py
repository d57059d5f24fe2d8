# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait until no transition is going on.

On a terminal a bar shows how many tasks are left. When there was a transition, one line says what came of it: the live
patch is in effect, or it was taken back. When time is up, the threads that block the transition are listed as
by 'klp blocking -v', or with -v as by 'klp blocking -vv'.

Exit status:
  0   no transition is going on, any more or at all
  1   time is up, and the transition still goes on
  66  or higher: it cannot be told, and standard error says why

Examples:
  klp wait
  klp wait --timeout 60 -v
"""

from __future__ import annotations

import sys

from host.arguments import seconds
from host.errors import Error, ExitStatus
from host.names import command
from host.terminal import is_terminal, progress, sanitize
from klp.blocking import Blocking, find_blocking
from klp.commands.blocking import fields, print_threads
from klp.output import add_common
from klp.waiting import Waited, is_in_use, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "-t",
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="give up after so many seconds; 0: look once",
    )
    add_common(parser, verbose="when time is up, show the stacks of the threads that block, and what helps")


def run(options: argparse.Namespace) -> ExitStatus:
    """Wait."""
    with progress("Transition") as update:

        def show(blocking: Blocking) -> None:
            left, all_tasks = len(blocking.threads), blocking.looked_at
            label = f"{blocking.patch}: {left} task{'' if left == 1 else 's'} left"
            update(all_tasks - left, all_tasks, label=label)

        # nobody would see it: the tasks need not be looked at
        on_tasks = show if is_terminal(sys.stderr) else None
        waited = wait(options.root, timeout=options.timeout, on_tasks=on_tasks)
    blocking = None
    if not waited.ready:
        blocking = find_blocking(options.root, commands=True, stacks=bool(options.verbose))
        if not blocking.patch:  # it ended in this very moment
            waited, blocking = waited._replace(ready=True), None
    if options.json:
        _write_json(waited, blocking, root=options.root)
        return ExitStatus.OK if waited.ready else ExitStatus.FAILED
    if blocking is not None:
        print_threads(blocking, level=2 if options.verbose else 1)
        raise _still(waited, blocking)
    for patch in waited.patches:
        outcome = "is in effect" if is_in_use(patch, root=options.root) else "is out of use"
        print(f"{sanitize(patch)} {outcome}, after {waited.seconds:.1f} s")
    return ExitStatus.OK


def _still(waited: Waited, blocking: Blocking) -> Error:
    left = len(blocking.threads)
    block = {0: "no thread in sight blocks it", 1: "1 thread blocks it"}.get(
        left, f"{left} threads block it"
    )
    hidden = f", and {blocking.hidden} may not be looked at" if blocking.hidden else ""
    return Error(
        f"{waited.patches[-1]} is still in transition after {waited.seconds:.1f} s: {block}{hidden}",
        hint=f"'{command('klp blocking -vv')}' says what they do and what helps",
    )


def _write_json(waited: Waited, blocking: Blocking | None, *, root: str) -> None:
    from host.json_output import write

    patches = [{"name": patch, "enabled": is_in_use(patch, root=root)} for patch in waited.patches]
    write(
        "klp-wait",
        {
            "state": "ready" if waited.ready else "in_progress",
            "waited": waited.seconds,
            "patches": patches,
            "blocking": blocking and fields(blocking),
        },
    )
