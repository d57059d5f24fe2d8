# SPDX-License-Identifier: GPL-2.0-or-later
"""Say which processes run the fixed functions, and why the others do not.

Looks at every process that maps a library for which there is a live patch: one that is installed (below
/usr/lib64/*/ or /var/livepatches), or that a process of root or of this user holds. Containers that are named
take the place of the installed ones. The newest live patch for a library build has the fixes of all before it:
a process that holds only an older one is outdated. With --cve it is enough to run one that names the CVE.

No process is stopped. Only libraries that are mapped from files can be seen: code that was linked into a
program statically is not. A build of a library for which there is no live patch is counted only where it was
deleted on disk; what is on disk now is for the package manager to judge, and -v lists it. A process that was
started meanwhile is not looked at.

Exit status:
  0   covered: all of them run the fix
  1   not covered: one of them does not
  2   nothing concerned: no process maps a library that has a live patch
  65  not proven: a container could not be read; otherwise as 0 or 2
  66  no live patch names this CVE, or is for this library
  77  not proven: processes could not be looked at; otherwise as 0 or 2

Examples:
  ulp status
  ulp status --cve CVE-2025-1234
  ulp status --library libc.so.6 -p 'nginx*' -v
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from host.errors import Error, ExitStatus, UsageError
from host.terminal import paint, progress, sanitize, terminal_width
from ulp import hidden, selection
from ulp.assess import assess
from ulp.coverage import LivePatch, Question, Row
from ulp.verdict import Verdict

if TYPE_CHECKING:
    from host.exclusions import Exclusions
    from ulp.container import Container


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``ulp status`` understands."""
    parser.usage = f"{parser.prog} [OPTION]... [CONTAINER.so | 'DIRECTORY/WILDCARD']..."
    parser.add_argument("containers", nargs="*", metavar="CONTAINER", help="a live patch or quoted wildcard")
    add = parser.add_argument_group("What is asked").add_argument
    add("--cve", default="", metavar="ID", help="who runs the fix for this CVE (or bug: bsc#1234567)")
    add("--library", default="", metavar="LIBRARY", help="only libraries of this name or pattern")
    add("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    add("--recursive", action="store_true", help="look for containers below the directory, too")
    add("-R", "--root", default="", metavar="PREFIX", help="where the system with the containers is")
    add = parser.add_argument_group("What to show").add_argument
    add(
        "-v",
        "--verbose",
        action="store_true",
        help="a line for each process; builds without a live patch, too",
    )
    add("-q", "--quiet", action="store_true", help="say nothing, the exit status tells")
    add("--json", action="store_true", help="for programs (docs/json.md)")


def run(options: argparse.Namespace) -> ExitStatus:
    """Look, and say."""
    question = _question(options)
    containers, problems = _containers(options)
    pids = selection.processes(options.process, readable=True)
    with progress("Looking at processes") as update:
        verdict, patches = assess(
            question,
            containers=containers,
            problems=problems,
            named=bool(options.containers),
            pids=pids,
            exempt=_exclusions().process,
            on_progress=update,
        )
    if options.json:
        _print_json(verdict, patches)
    elif not options.quiet:
        _print_text(options, verdict)
    return verdict.status


def _question(options: argparse.Namespace) -> Question:
    if options.verbose and options.quiet:
        raise UsageError("-v and -q contradict each other")
    label = ""
    if options.cve:
        from ulp.container import find_labels

        labels = find_labels(options.cve)
        if len(labels) != 1 or len(labels[0]) != len(options.cve):
            raise UsageError(f"'{options.cve}' is no number such as CVE-2025-1234 or bsc#1234567")
        label = labels[0]
    return Question(label=label, library=os.path.basename(options.library))


def _containers(options: argparse.Namespace) -> tuple[Sequence[Container], Sequence[Error]]:
    if options.containers:
        named = selection.containers(options.containers, recursive=options.recursive, prefix=options.root)
        return named, ()
    from ulp import installed

    return installed.find(options.root or "/")


def _exclusions() -> Exclusions:
    """Return what the administrator leaves out; what is wrong with that is told, and no reason to say nothing else."""
    from host import exclusions

    try:
        return exclusions.load()
    except Error as error:
        print(
            f"ulp: {sanitize(error.sentence)}; live patches are not applied automatically", file=sys.stderr
        )
        return exclusions.Exclusions()


def _print_text(options: argparse.Namespace, verdict: Verdict) -> None:
    from ulp import verdict as words

    ink = paint(options.color)
    with_others = options.verbose or options.library
    shown = [row for row in verdict.rows if row.counts or with_others]
    if shown:
        lay_out = words.one_by_one if options.verbose else words.grouped
        print(lay_out(shown, label=verdict.question.label, width=terminal_width(), ink=ink))
    if verdict.others:
        print(f"ulp: {verdict.other_builds()}{'' if with_others else '; -v lists them'}.")
    if verdict.unseen:
        print(f"ulp: {sanitize(hidden.sentence(verdict.unseen))}.")
    if verdict.patches:
        print(f"ulp: {sanitize(_watching())}.")
    color = {"covered": ink.good, "not-covered": ink.bad}.get(verdict.word, ink.warn)
    print(f"ulp: {color(verdict.sentence)}.")
    sys.stdout.flush()
    for problem in verdict.problems:
        print(f"ulp: {sanitize(problem.sentence)}", file=sys.stderr)
    for hint in verdict.hints():
        print(f"hint: {hint}", file=sys.stderr)


def _watching() -> str:
    """Say whether processes that start later are patched."""
    from ulp.watch import presence

    state = presence.read()
    if state is None:
        return f"processes that start later are not patched: {presence.UNIT} does not run"
    if state.problem:
        return f"{presence.UNIT} runs (process {state.pid}): {state.problem}"
    return f"{presence.UNIT} runs (process {state.pid}) and has patched {state.patched} that started later"


def _print_json(verdict: Verdict, patches: Sequence[LivePatch]) -> None:
    import dataclasses

    from host import json_output
    from ulp.watch import presence

    json_output.write(
        "ulp-status",
        {
            "cve": verdict.question.label or None,
            "library": verdict.question.library or None,
            "verdict": verdict.word,
            "summary": verdict.sentence,
            "counts": {
                "concerned": len(verdict.concerned),
                "covered": len(verdict.covered),
                "patchable": verdict.patchable,
                "stuck": len(verdict.stuck),
                "other_builds": len({row.pid for row in verdict.others}),
                "unseen": len(verdict.unseen),
            },
            "hidden": hidden.rows(verdict.unseen),
            "live_patches": [
                {
                    "path": patch.path,
                    "patch_id": patch.patch_id.hex(),
                    "target": patch.target,
                    "build_id": patch.build_id.hex(),
                    "labels": list(patch.labels),
                    "installed": patch.container is not None,
                }
                for patch in patches
            ],
            "processes": [_row(row) for row in verdict.rows],
            "problems": [problem.sentence for problem in verdict.problems],
            "watcher": dataclasses.asdict(watcher) if (watcher := presence.read()) else None,
        },
    )


def _row(row: Row) -> dict[str, object]:
    return {
        "pid": row.pid,
        "name": row.name,
        "library": row.library,
        "build_id": row.build_id.hex(),
        "state": row.state.value,
        "fix": row.fix.path if row.fix else None,
        "reason": row.reason.value if row.reason else None,
        "detail": row.explanation,
        "patches": [
            {
                "container": patch.container,
                "patch_id": patch.patch_id.hex(),
                "labels": list(patch.labels),
                "engine": patch.engine,
            }
            for patch in row.held
        ],
    }
