# SPDX-License-Identifier: GPL-2.0-or-later
"""Show what libpulp has noted in a process.

libpulp keeps its last 2 MiB of messages in the process that preloads it: what it was asked for and what went
wrong. The times are those of the process's own time zone. The process is not stopped.

Exit status: 0 when they are shown, and be there none; 2 when the process does not preload libpulp, or a pattern
after -p fits no process; 65 when the process's memory holds nonsense in their place; 66 when there is no such
process; 77 when it belongs to somebody else.

Examples:
  ulp messages -p 4294
  ulp messages -p nginx | grep -i error
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from host.errors import BadDataError, Error, ExitStatus, NoInputError, UsageError
from host.names import command
from host.terminal import sanitize
from ulp import libpulp_status, selection

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser
    from ulp.engines.pulp.library import Libpulp

_MOST_NAMED = 5


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp messages`` understands."""
    add = parser.add_argument
    add("-p", "--process", default="", metavar="X",
        help="the process: its pid, or a pattern of names that fits one process only")  # fmt: skip
    add(
        "--raw", action="store_true", help="with the NUL behind each text, as libpulp's own tool writes them"
    )
    add("-v", "--verbose", action="store_true", help="taken for the sake of scripts, changes nothing")
    add("-q", "--quiet", action="store_true", help="taken for the sake of scripts, changes nothing")
    add("--json", action="store_true", help="for programs (docs/json.md)")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> int:
    """Show them."""
    pid = _chosen(options.process)
    name, libpulp, ring = _ring(pid)
    if options.json:
        _print_json(pid, name, libpulp, ring)
        return ExitStatus.OK
    if not options.raw:
        ring = ring.replace(b"\0", b"")
    if sys.stdout.isatty():  # the text is the process's own: it must not act on a terminal
        for line in ring.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n"):
            print(sanitize(line))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(ring)
    return ExitStatus.OK


def _chosen(word: str) -> int:
    if not word:
        raise UsageError("the process is missing", hint=f"Name it: {command('ulp messages -p PID')}")
    pids = selection.processes([word], readable=True) or ()
    if len(pids) != 1:
        named = ", ".join(map(str, pids[:_MOST_NAMED])) + (", ..." if len(pids) > _MOST_NAMED else "")
        raise UsageError(f"'{word}' fits {len(pids)} processes: {named}", hint="Name one by its pid.")
    return pids[0]


def _ring(pid: int) -> tuple[str, Libpulp, bytes]:
    from host import procfs
    from ulp.builds import read_maps
    from ulp.engines.pulp import abi, messages
    from ulp.engines.pulp.library import find
    from ulp.memory import Memory, MemoryGone
    from ulp.result import Damaged

    name = procfs.name(pid)
    try:
        mappings = procfs.parse_maps(read_maps(pid))
        with Memory(pid, tid=procfs.live_thread(pid)) as memory:
            libpulp = find(memory, mappings, {})
            if libpulp is None or abi.MESSAGES not in libpulp.symbols:
                raise Error(
                    f"process {pid} ({name}) does not preload libpulp",
                    hint="Only libpulp notes messages; "
                    f"'{command('ulp patches')}' lists the processes that preload it.",
                    status=ExitStatus.NOTHING_MATCHED,
                )
            return name, libpulp, messages.read(memory, libpulp)
    except Damaged as error:
        raise BadDataError(f"process {pid}: {error}") from error
    except (FileNotFoundError, ProcessLookupError, MemoryGone) as error:
        raise NoInputError(f"process {pid} has ended") from error


def _print_json(pid: int, name: str, libpulp: Libpulp, ring: bytes) -> None:
    from host import json_output
    from ulp.engines.pulp import messages

    json_output.write(
        "ulp-messages",
        {
            "pid": pid,
            "name": name,
            "libpulp": {
                "path": libpulp.path,
                "version": libpulp.version,
                "error_state": libpulp.error_state,
            },
            "messages": [
                {"time": message.time or None, "text": message.text} for message in messages.parse(ring)
            ],
        },
    )
