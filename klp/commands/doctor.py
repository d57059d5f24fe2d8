# SPDX-License-Identifier: GPL-2.0-or-later
"""Examine live patching of the kernel, and say what to do where something is missing.

One finding after the other: whether live patches are made for the running kernel, whether the newest one is
installed, loaded and in effect, until when it is maintained, whether it is in the initrd and so there again after a
crash, whether a reboot is really needed, and whether product, pattern and locks are as live patching wants them. Below
a finding stand the commands that mend it. Nothing is changed, and repositories are not refreshed.

Exit status:
  0   nothing is wrong; notes do not count
  1   at least one problem was found
  69  no problem was found, but not everything could be looked at

Examples:
  klp doctor
  klp doctor --json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from host.errors import ExitStatus
from host.terminal import Paint, is_terminal, paint, sanitize, terminal_width, wrap
from klp.doctor import examine
from klp.doctor.findings import Finding, Mood
from klp.output import add_common

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_HEAD = max(map(len, Mood)) + 1
_WIDEST = 100  # columns on a terminal; what scripts read has lines as long as they are


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the findings."""
    findings = list(examine(options.root))
    if options.json:
        from dataclasses import asdict

        from host.json_output import write

        write("klp-doctor", {"findings": [asdict(finding) for finding in findings]})
    else:
        ink = paint(options.color)
        width = min(terminal_width() or sys.maxsize, _WIDEST if is_terminal(sys.stdout) else sys.maxsize)
        for finding in findings:
            print(*_lines(finding, ink=ink, width=width), sep="\n")
        print(_summary(findings))
    moods = {finding.mood for finding in findings}
    if Mood.PROBLEM in moods:
        return ExitStatus.FAILED
    return ExitStatus.UNAVAILABLE if Mood.UNKNOWN in moods else ExitStatus.OK


def _lines(finding: Finding, *, ink: Paint, width: int) -> list[str]:
    color = {Mood.OK: ink.good, Mood.PROBLEM: ink.bad}.get(finding.mood, ink.warn)
    first, *more = wrap(sanitize(finding.sentence), max(20, width - _HEAD - 1)) or [""]
    blank = " " * (_HEAD + 1)
    head = color(finding.mood) + " " * (_HEAD + 1 - len(finding.mood))
    return [
        f"{head}{first}",
        *(f"{blank}{line}" for line in more),
        *(f"{blank}> {sanitize(step)}" for step in finding.steps),
    ]


def _summary(findings: Sequence[Finding]) -> str:
    parts = []
    for mood, one, many in (
        (Mood.PROBLEM, "problem", "problems"),
        (Mood.UNKNOWN, "thing that could not be looked at", "things that could not be looked at"),
        (Mood.NOTE, "note", "notes"),
    ):
        count = sum(finding.mood is mood for finding in findings)
        if count:
            parts.append(f"{count} {one if count == 1 else many}")
    return f"\n{', '.join(parts) or 'nothing is to be done'}"
