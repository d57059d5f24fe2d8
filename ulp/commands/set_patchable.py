# SPDX-License-Identifier: GPL-2.0-or-later
"""Enable or disable live patching through libpulp in running processes.

A process in which it is disabled takes no live patch until it is enabled again, by
no engine; what it holds stays in use. Without -p and -u all processes that have loaded
libpulp are meant. No process is stopped for it. Every process where it changed is named
on standard error.

Exit status:
  0   it is as asked in all of them
  1   refused: it could be changed in none of them
  2   nothing matched: no process that -p or -u chose has loaded libpulp
  3   partly: it is as asked in some of them, in others it could not be changed
  77  refused, and only because permission is missing

Examples:
  ulp set_patchable -p 4294 disable
  ulp set_patchable -u 'database*' enable
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from host.errors import Error, ExitStatus
from host.names import command
from host.terminal import sanitize
from ulp import hidden, libpulp_status, selection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from host.arguments import Parser
    from ulp.hidden import Hidden
    from ulp.patchable import Switched


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp set_patchable`` understands."""
    parser.usage = f"{parser.prog} [OPTION]... enable|disable"
    add = parser.add_argument
    add("state", metavar="enable|disable", help="what it shall be")
    add("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    add("-u", "--user", action="append", default=[], metavar="USER",
        help="only processes of this user: a name, a pattern or a uid; may be repeated")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="name the processes where it was so before, too")
    add("-q", "--quiet", action="store_true", help="say nothing, the exit status tells")
    add("--json", action="store_true", help="for programs (docs/json.md)")
    add("-r", "--retries", metavar="N", help="taken for the sake of scripts, changes nothing")
    add("--disable-threading", action="store_true", help="taken for the sake of scripts, changes nothing")
    libpulp_status.add_option(parser)


@libpulp_status.translated(
    errors=0, special={ExitStatus.USAGE: 1}, answers={int(status): 0 for status in ExitStatus}
)
def run(options: argparse.Namespace) -> int:
    """Switch it and report."""
    word = options.state.lower()
    if word not in {"enable", "disable"}:  # libpulp ends with 1, and not with 64 as for other wrong words
        raise Error(
            f"Expected: 'enable' or 'disable', not '{options.state}'",
            hint=f"'{command('ulp set_patchable --help')}' shows what it understands.",
            status=ExitStatus.USAGE,
        )
    pids = selection.processes(options.process, users=options.user)
    from ulp import patchable

    answers, unseen = patchable.switch(enabled=word == "enable", pids=pids)
    pointed_at = {int(each) for each in options.process if each.isascii() and each.isdigit()}
    answers = [
        each for each in answers if each.pid in pointed_at or each.reason not in patchable.NOTHING_TO_DO
    ]
    if options.json:
        _print_json(answers, unseen, enabled=word == "enable")
    elif not options.quiet:
        _print_lines(answers, unseen, state=f"{word}d", verbose=options.verbose)
    from ulp.report import exit_status

    failures = {answer.reason for answer in answers if answer.reason not in {None, *patchable.NOTHING_TO_DO}}
    done = any(answer.reason is None for answer in answers)
    if pids is not None and not done and not failures:
        return ExitStatus.NOTHING_MATCHED
    return exit_status(done=done, failures=[reason for reason in failures if reason])


def _print_lines(
    answers: Sequence[Switched], unseen: Sequence[Hidden], *, state: str, verbose: bool
) -> None:
    for answer in answers:
        process = f"Process {sanitize(answer.name)} (pid: {answer.pid})"
        if answer.reason is not None:
            line = f"Unable to change status of process {answer.pid}: {sanitize(answer.sentence)}."
        elif answer.changed:
            line = f"{process}: livepatching is now {state}."
        elif verbose:
            line = f"{process}: livepatching was {state} before."
        else:
            continue
        print(f"ulp: {line}", file=sys.stderr)
    if unseen:
        print(f"ulp: {sanitize(hidden.sentence(unseen))}.", file=sys.stderr)


def _print_json(answers: Sequence[Switched], unseen: Sequence[Hidden], *, enabled: bool) -> None:
    from host import json_output

    json_output.write(
        "ulp-set-patchable",
        {
            "enabled": enabled,
            "processes": [
                {
                    "pid": answer.pid,
                    "name": answer.name,
                    "done": answer.reason is None,
                    "changed": answer.changed,
                    "reason": answer.reason.value if answer.reason else None,
                    "detail": answer.sentence,
                }
                for answer in answers
            ],
            "unseen": len(unseen),
        },
    )
