# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that a live patch is applied, in some processes or wherever its library is used.

Without -p it looks at every process that uses the library build that the live patch is made for: does
everything run the fixed functions? No process is stopped for it.

Exit status:
  0   it is applied in all of them
  1   it is missing in all of them
  3   it is missing in some of them, or in one of several copies of the library
      in a process
  2   none of them uses that build of the library
  77  it is applied in all that could be looked at, but some could not be

Examples:
  ulp check -p 4294 libcrypto_livepatch3.so
  ulp check libcrypto_livepatch3.so
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from host import procfs
from host.errors import ExitStatus
from host.terminal import paint, sanitize
from ulp import hidden, libpulp_status, report, selection

if TYPE_CHECKING:
    from host.arguments import Parser
    from ulp.container import Container
    from ulp.hidden import Hidden
    from ulp.holdings import Holding

_LIBPULP: Final[Mapping[int, int]] = {  # its numbers; 0 means not applied
    ExitStatus.OK: 1,
    ExitStatus.FAILED: 0,
    ExitStatus.PARTLY: 0,
    ExitStatus.NOTHING_MATCHED: 255,
    ExitStatus.NOT_PERMITTED: 255,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Whether one process has one live patch; None where it does not use that build of the library."""

    pid: int
    name: str
    container: Container
    applied: bool | None  # in every copy of the library that it has loaded
    copies: int = 1  # of the library in the process
    partly: bool = False  # whether only one of them has it
    others: tuple[
        str, ...
    ]  # other live patches for the same build that the process holds, by their containers
    problem: str = ""  # why it cannot be told what the process holds

    @property
    def sentence(self) -> str:
        """What people read about it."""
        name = os.path.basename(self.container.path)
        if self.applied is None:
            return f"does not use {self.container.target_name} of build {self.container.build_id.hex()}"
        if self.applied:
            return name
        if self.partly:
            return f"{name}, only in one of {self.copies} copies of {self.container.target_name} that it has loaded"
        held = ", ".join(map(os.path.basename, self.others))
        return f"{name}, it holds {held}" if held else f"{name}: {self.problem}" if self.problem else name


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp check`` understands."""
    add = parser.add_argument
    parser.usage = f"{parser.prog} [OPTION]... CONTAINER.so | 'DIRECTORY/WILDCARD'"
    add("containers", nargs="+", metavar="CONTAINER", help="a live patch or quoted wildcard")
    add("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="list the processes that have it, too")
    add("-q", "--quiet", action="store_true", help="say nothing, the exit status tells")
    add("--json", action="store_true", help="for programs (docs/json.md)")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=255, answers=_LIBPULP)
def run(options: argparse.Namespace) -> int:
    """Check."""
    with libpulp_status.errors_as(options, 1):
        containers = selection.containers(options.containers)
    pids = selection.processes(options.process, readable=True)
    from ulp.holdings import applied

    holdings, unseen = applied(pids=pids, libraries=True)
    findings = [find(holding, container) for container in containers for holding in holdings]
    if pids is None:
        findings = [finding for finding in findings if finding.applied is not None]
    else:  # a kernel thread or zombie that was named maps nothing
        empty = sorted(set(pids) - {holding.pid for holding in holdings})
        findings += [_nothing(pid, container) for container in containers for pid in empty]
    if options.json:
        _print_json(findings, unseen)
    elif not options.quiet:
        _print_lines(options, containers, findings, unseen)
    answers = {finding.applied for finding in findings}
    if False in answers:
        some = True in answers or any(finding.partly for finding in findings)
        return ExitStatus.PARTLY if some else ExitStatus.FAILED
    if True not in answers:
        return ExitStatus.NOTHING_MATCHED
    return ExitStatus.NOT_PERMITTED if unseen and not options.process else ExitStatus.OK


def find(holding: Holding, container: Container) -> Finding:
    """Say whether the process has the live patch."""
    held = any(patch.patch_id == container.patch_id for patch in holding.patches)
    copies = holding.copies_of(container.build_id)
    applied: bool | None = held and copies == 1
    same_build = [patch for patch in holding.patches if patch.build_id == container.build_id]
    if not (held or same_build or container.build_id.hex() in {build for _, build in holding.libraries}):
        applied = None
    return Finding(
        pid=holding.pid,
        name=holding.name,
        container=container,
        applied=applied,
        copies=copies,
        partly=held and not applied,
        others=tuple(patch.container for patch in same_build if patch.patch_id != container.patch_id),
        problem="" if applied else holding.problem,
    )


def _nothing(pid: int, container: Container) -> Finding:
    return Finding(pid=pid, name=procfs.name(pid), container=container, applied=None, others=())


def _print_lines(
    options: argparse.Namespace,
    containers: Sequence[Container],
    findings: Sequence[Finding],
    unseen: Sequence[Hidden],
) -> None:
    ink = paint(options.color)
    words = {True: ink.good("APPLIED"), False: ink.bad("NOT APPLIED"), None: ink.warn("SKIPPED")}
    partly = ink.bad("PARTLY APPLIED")
    for finding in findings:
        if options.verbose or options.process or not finding.applied:
            head = f"  {sanitize(finding.name)} (pid: {finding.pid})"
            word = partly if finding.partly else words[finding.applied]
            print(f"{head}: {word} {sanitize(finding.sentence)}")
    if unseen:
        print(f"ulp: {sanitize(hidden.sentence(unseen))}.")
    for container in containers:
        answers = [f.applied for f in findings if f.container is container and f.applied is not None]
        name, target = sanitize(os.path.basename(container.path)), sanitize(container.target_name)
        if answers:
            used = f"{report.processes(len(answers))} that {'uses' if len(answers) == 1 else 'use'}"
            print(f"ulp: {name} is applied in {sum(answers)} of {used} this build of {target}.")
        else:
            print(f"ulp: {name} is applied nowhere, no process uses this build of {target}.")


def _print_json(findings: Sequence[Finding], unseen: Sequence[Hidden]) -> None:
    from host import json_output

    json_output.write(
        "ulp-check",
        {
            "findings": [
                {
                    "pid": finding.pid,
                    "name": finding.name,
                    "container": finding.container.path,
                    "patch_id": finding.container.patch_id.hex(),
                    "target": finding.container.target_name,
                    "build_id": finding.container.build_id.hex(),
                    "applied": finding.applied,
                    "partly": finding.partly,
                    "copies": finding.copies,
                    "others": list(finding.others),
                    "problem": finding.problem,
                }
                for finding in findings
            ],
            "unseen": len(unseen),
        },
    )
