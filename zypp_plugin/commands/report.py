# SPDX-License-Identifier: GPL-2.0-or-later
"""Show what live patching came to when zypper installed, updated or removed live patches.

Every commit of zypper with live patch packages in it leaves a report: which packages and containers, which
processes run the fixed functions, and why others do not. Without options the newest one is shown.

Exit status:
  0   all is done; what is left out has no live patch or is left out on request
  1   something could not be patched, or the work is not finished
  2   there is no report

Examples:
  zypper livepatch report
  zypper livepatch report --last=2
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from host.errors import ExitStatus, NoInputError, UsageError
from host.names import command
from zypp_plugin import archive
from zypp_plugin.report import SCHEMA, VERSION, Report, State, Use

if TYPE_CHECKING:
    import argparse

    from host.terminal import Paint
    from zypp_plugin.report import ContainerRow, PackageRow, ProcessRow

_STATES = {
    State.WAITING: "waits for the work of an earlier commit",
    State.RUNNING: "still at work",
    State.SETTLING: "user space is done, the kernel is in transition",
    State.DONE: "done",
    State.FAILED: "failed",
    State.INTERRUPTED: "interrupted, the worker was ended before it was done",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``zypper livepatch report`` understands."""
    from host.arguments import positive_integer

    parser.add_argument(
        "--json", action="store_true", help="for programs (docs/json.md): the report as it is in its file"
    )
    parser.add_argument(
        "--last",
        type=positive_integer,
        metavar="N",
        help="the Nth newest report; 1 is the newest and the default",
    )
    parser.add_argument("--file", metavar="FILE", help="show the report in this file")


def run(options: argparse.Namespace) -> ExitStatus:
    """Show one report."""
    path = _choose(options.last, options.file)
    report = archive.read(path)
    if options.json:
        import dataclasses

        from host import json_output

        json_output.write(SCHEMA, dataclasses.asdict(report), version=VERSION)
    else:
        _show(report, path, choice=options.color)
    return _status(report)


def _choose(last: int | None, file: str | None) -> Path:
    if file is not None:
        if last is not None:
            raise UsageError("--last and --file cannot be given together")
        return Path(file)
    paths = archive.paths()
    number = last or 1
    if not paths:
        raise NoInputError(
            "there is no report: zypper has not installed a live patch yet",
            hint=f"'{command('ulp patches')}' shows what is applied",
            status=ExitStatus.NOTHING_MATCHED,
        )
    if number > len(paths):
        raise NoInputError(
            f"there are only {len(paths)} reports",
            hint=f"the oldest is --last {len(paths)}",
            status=ExitStatus.NOTHING_MATCHED,
        )
    return paths[number - 1]


def _status(report: Report) -> ExitStatus:
    from zypp_plugin.summary import summarize

    good = report.state is State.DONE and summarize(report)[1] != "bad"
    return ExitStatus.OK if good else ExitStatus.FAILED


def _show(report: Report, path: Path, *, choice: str) -> None:
    from host.terminal import paint, sanitize, terminal_width
    from zypp_plugin.summary import summarize

    ink = paint(choice)
    width = terminal_width()
    summary, mood = summarize(report)
    if report.state not in (State.DONE, State.SETTLING, State.FAILED):
        mood = "partly"
    color = {"good": ink.good, "partly": ink.warn}.get(mood, ink.bad)
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.started))
    state = _STATES[report.state]
    if report.state is State.RUNNING and len(report.progress) == 2:
        state += f", {report.progress[0]} of {report.progress[1]} processes so far"
    if report.finished is not None:
        state += f" after {report.finished - report.started:.1f} s"
    print(f"{ink.strong('Live patching')} of {began}: {state}")
    for package in report.packages:
        print("\n" + _package(package, ink))
    if report.processes:
        print("\n" + _processes(report.processes, ink, width), end="")
    if report.kernel:
        print()
        for row in report.kernel:
            print(f"Kernel: {sanitize(row.sentence)}")
            if row.cves:
                print(f"  {sanitize(' '.join(row.cves))}")
    for note in report.notes:
        print(f"\n{sanitize(_capitalized(note))}.")
    for problem in report.problems:
        print(f"\n{ink.warn('Note:')} {sanitize(problem)}")
    print(f"\n{color(sanitize(summary) + '.')}")
    print(f"The whole report: {sanitize(str(path))}")


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _package(package: PackageRow, ink: Paint) -> str:
    from host.terminal import sanitize

    before = f" (was {', '.join(package.before)})" if package.before else ""
    lines = [f"{ink.strong(sanitize(package.name))} {sanitize(package.evr + before)}: {package.action}"]
    lines += [
        f"  {sanitize(_container(row))}" for row in package.containers if row.use is not Use.SUPERSEDED
    ]
    superseded = sum(row.use is Use.SUPERSEDED for row in package.containers)
    if superseded:
        lines.append(f"  {superseded} older live patch{'es' if superseded > 1 else ''} for the same builds")
    lines += [f"  {sanitize(note)}" for note in package.notes]
    return "\n".join(lines)


def _container(row: ContainerRow) -> str:
    text = row.path.rpartition("/")[2]
    if row.target:
        text += f" for {row.target} (build-id {row.build_id[:12]}…)"
    if row.labels:
        text += f": {' '.join(row.labels)}"
    if row.use is not Use.APPLIED:
        text += f" - {row.use}{f': {row.why}' if row.why else ''}"
    return text


def _processes(rows: Iterable[ProcessRow], ink: Paint, width: int | None) -> str:
    from host.terminal import table

    def style(column: int, text: str) -> str:
        if column == -1:
            return ink.strong(text)
        if column == 3:
            word = text.strip()
            return (
                ink.good(text) if word == "SUCCESS" else ink.bad(text) if word == "ERROR" else ink.warn(text)
            )
        return text

    cells = [
        (
            str(row.pid),
            row.name,
            row.library.rpartition("/")[2],
            row.outcome,
            f"{row.pause * 1e6:.0f} µs" if row.pause is not None else "",
            _why(row),
        )
        for row in sorted(rows, key=lambda row: ({"ERROR": 0, "SKIPPED": 1}.get(row.outcome, 2), row.pid))
    ]
    heads = ("PID", "Process", "Library", "Result", "Pause", "Reason")
    return table(cells, heads=heads, right=(0, 4), width=width, style=style)


def _why(row: ProcessRow) -> str:
    text = f"patched, replaced {', '.join(row.reverted)}" if row.reverted else row.sentence
    if row.busy:
        text += f"; finishes in old code: {', '.join(row.busy)}"
    return text
