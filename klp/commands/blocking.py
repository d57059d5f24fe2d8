# SPDX-License-Identifier: GPL-2.0-or-later
"""List the threads that a transition waits for.

One line per thread: process id and thread id. Prints nothing when no transition is going on. Threads that this
user may not look at are counted on standard error.

Exit status: 0 when the list is printed, and be it empty.

Examples:
  klp blocking -v
  klp blocking | cut -d' ' -f1 | sort -u
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from host.errors import ExitStatus
from host.terminal import sanitize
from klp.blocking import Blocking, BlockingThread, find_blocking
from klp.output import add_common, remark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(
        parser, verbose="show the process's command line, too; -vv: and what the thread does in the kernel"
    )


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list."""
    blocking = find_blocking(
        options.root, commands=bool(options.verbose or options.json), stacks=options.verbose > 1
    )
    if options.json:
        from host.json_output import write

        write("klp-blocking", asdict(blocking))
        return ExitStatus.OK
    for thread in blocking.threads:
        print(_line(thread, verbose=options.verbose))
        for frame in thread.stack:
            print(f"    {sanitize(frame)}")
    if options.verbose and not blocking.threads:
        print("no threads with klp_in_progress set")
    remark(_remarks(blocking))
    return ExitStatus.OK


def _line(thread: BlockingThread, *, verbose: int) -> str:
    ids = f"{thread.pid} {thread.tid}"
    if not verbose:
        return ids
    return f"{ids} {sanitize(' '.join(thread.command) or f'[{thread.name}]')}"


def _remarks(blocking: Blocking) -> list[str]:
    remarks = list(blocking.problems)
    if blocking.hidden:
        hint = "; run klp as root" if os.geteuid() else ""
        remarks.append(f"{blocking.hidden} threads may not be looked at{hint}")
    remarks += [f"process {pid} gave no answer" for pid in blocking.silent]
    return remarks
