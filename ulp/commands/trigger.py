# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply live patches to running processes, or take them back.

Every process that maps the library build that a container is made for is changed, all functions together or
none; it goes on running and keeps its pid. A quoted wildcard in the last part of a path ('DIRECTORY/*.so')
means all containers there, each applied in turn; with --revert-all only the latest one for a library build
is, because containers are cumulative.

Exit status:
  0   every process that was chosen is patched or needs nothing
  1   refused: no process that needs it could be changed; they are as they were
  2   nothing matched: none of the processes that -p or -u chose uses that build
  3   partly: some processes are patched, others could not be
  77  refused, and only because permission is missing

Examples:
  ulp trigger /usr/lib64/libcrypto-livepatch/libcrypto_livepatch3.so
  ulp trigger --revert-all=target '/usr/lib64/libcrypto-livepatch/*.so'
  ulp trigger -p nginx --dry-run libcrypto_livepatch3.so
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from host.arguments import enumerate_words, positive_integer, seconds
from host.errors import ExitStatus, UsageError
from host.terminal import paint, progress, sanitize
from ulp import hidden, libpulp_status, report, selection
from ulp.engines import Change, Consistency, EngineName, Settings
from ulp.result import Outcome, Reason, Result

if TYPE_CHECKING:
    from host.arguments import Parser
    from ulp.container import Container
    from ulp.fleet import Survey

MANY_TRIES = 1_000_000  # for --consistency=strict, which --timeout bounds

# What says of a process that was named that there was nothing to do with it, though it is not patched either.
_LEFT_ALONE = frozenset(
    {
        Reason.PROCESS_ONE,
        Reason.NO_SUCH_LIBRARY,
        Reason.STATIC_BINARY,
        Reason.KERNEL_THREAD,
        Reason.PROCESS_GONE,
        Reason.BUILD_ID_MISMATCH,
        Reason.NO_LIBPULP,
    }
)


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp trigger`` understands."""
    parser.usage = f"{parser.prog} [OPTION]... [CONTAINER.so | 'DIRECTORY/WILDCARD']..."
    parser.add_argument("containers", nargs="*", metavar="CONTAINER", help="a live patch or quoted wildcard")
    add = parser.add_argument_group("Which processes and containers").add_argument
    add("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    add("-u", "--user", action="append", default=[], metavar="USER",
        help="only processes of this user: a name, a pattern or a uid; may be repeated")  # fmt: skip
    add("--recursive", action="store_true", help="look below the directory, too")
    add("-R", "--root", default="", metavar="PREFIX", help="what the processes see before these paths")
    add = parser.add_argument_group("What to do").add_argument
    add("--revert", action="store_true", help="take these live patches back instead of applying them")
    add("--revert-all", default="", metavar="target|LIBRARY",
        help="take all live patches of the library back, of the containers' own with 'target'; "
        "containers are applied in the same stop")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would happen; nothing stops, nothing changes")
    add = parser.add_argument_group("How").add_argument
    add("--consistency", choices=[str(word) for word in Consistency], default="default",
        help="default: a call inside an old function finishes there; "
        "strict: wait until no thread is inside one")  # fmt: skip
    add("-c", "--check-stack", action="store_const", const=str(Consistency.STRICT), dest="consistency",
        help="the same as --consistency=strict")  # fmt: skip
    add("--engine", choices=[str(word) for word in EngineName], default="auto",
        help="auto: through libpulp where a process has loaded it, from outside elsewhere; "
        "pulp or direct: only this one")  # fmt: skip
    add("-r", "--retries", type=positive_integer, metavar="N",
        help="stop a process at most N times while it is busy "
        "(default: 1; strict: as often as --timeout allows)")  # fmt: skip
    add("--timeout", type=seconds, default=200.0, metavar="SECONDS",
        help="longest time for one process, waiting included (default: %(default)g)")  # fmt: skip
    add("--disable-seccomp", action="store_true", help="suspend seccomp filters (needs CAP_SYS_ADMIN)")
    add("--disable-threading", action="store_true", help="taken for the sake of scripts, changes nothing")
    add = parser.add_argument_group("What to show").add_argument
    add("-v", "--verbose", action="store_true", help="pauses, functions, processes without the library")
    add("-q", "--quiet", action="store_true", help="only the last line")
    add("--disable-summarization", action="store_true", help="every container in every process")
    add("--json", action="store_true", help="for programs (docs/json.md)")
    libpulp_status.add_option(parser)
    parser.young("--consistency", "--check-stack", "--engine")


def run(options: argparse.Namespace) -> int:
    """Change the processes and report."""
    _check(options)
    with libpulp_status.errors_as(options, 0 if _is_wildcard(options) else libpulp_status.NO_METADATA):
        containers = selection.containers(
            options.containers, recursive=options.recursive, prefix=options.root
        )
    changes, superseded = plan(containers, revert=options.revert, revert_all=options.revert_all)
    with libpulp_status.errors_as(options, 0):
        pids = selection.processes(options.process, users=options.user)
    consistency = Consistency(options.consistency)
    settings = Settings(
        consistency=consistency,
        tries=options.retries or (MANY_TRIES if consistency is Consistency.STRICT else 1),
        timeout=options.timeout,
        dry_run=options.dry_run,
        suspend_seccomp=options.disable_seccomp,
        patch_process_one=_patch_process_one(pids),
        engine=EngineName(options.engine),
    )
    from ulp import fleet

    label = "Looking at" if options.dry_run else "Changing"
    with progress(f"{label} processes") as update:
        survey = fleet.change(changes, settings=settings, pids=pids, on_progress=update)
    processes = report.by_process(
        map(_called, survey.results, itertools.cycle(changes), itertools.repeat(containers))
    )
    if options.json:
        _print_json(options, containers, superseded, survey, processes)
    else:
        _print_lines(options, containers, superseded, survey, processes)
    return _status(options, processes)


def _patch_process_one(pids: Sequence[int] | None) -> bool:
    """Say whether process 1 is patched; raises ConfigError. The configuration is read only where that matters."""
    if pids is not None and 1 not in pids:
        return False
    from host import config

    return config.load().process_one


def _check(options: argparse.Namespace) -> None:
    if options.verbose and options.quiet:
        raise UsageError("-v and -q contradict each other")
    if options.revert and options.revert_all:
        raise UsageError("--revert and --revert-all cannot be used together")
    if not options.containers and (not options.revert_all or options.revert_all == "target"):
        raise UsageError("name a container, a wildcard in quotes, or --revert-all=LIBRARY")


def plan(
    containers: Sequence[Container], *, revert: bool, revert_all: str
) -> tuple[list[Change], dict[str, str]]:
    """Return the changes in their order, and which containers are left out for the sake of which later ones.

    Containers come oldest first and come off newest first. ``revert_all`` goes with the containers of that
    library; where they are for others it is a change of its own before them.
    """
    if revert:
        return [Change(revert=(container.patch_id,)) for container in reversed(containers)], {}
    if not revert_all:
        return [Change(apply=container) for container in containers], {}
    library = os.path.basename(revert_all)
    cumulative = [c for c in containers if revert_all == "target" or c.target_name == library]
    latest = {container.build_id: container for container in cumulative}
    superseded = {
        container.path: latest[container.build_id].path
        for container in cumulative
        if latest[container.build_id] is not container
    }
    changes = [] if cumulative else [Change(revert_library=library)]
    for container in containers:
        if container.path not in superseded:
            replaces = container in cumulative
            changes.append(Change(apply=container, revert_target=replaces))
    return changes, superseded


def _called(result: Result, change: Change, containers: Sequence[Container]) -> Result:
    """Return the result of a change with what libpulp's users call the change, and its outcome."""
    if change.revert_library:
        nothing = result.reason is Reason.NOT_APPLIED and not result.detail
        detail = "No patches installed" if nothing else result.detail
        return result._replace(subject=f"reverted all patches from '{change.revert_library}'", detail=detail)
    meant = next(c for c in containers if c is change.apply or c.patch_id in change.revert)
    return result._replace(subject=meant.word or meant.path)


def _print_json(
    options: argparse.Namespace,
    containers: Sequence[Container],
    superseded: dict[str, str],
    survey: Survey,
    processes: Sequence[report.Process],
) -> None:
    from host import json_output

    everything = options.verbose or options.process
    counts = report.count(processes)
    shown = (row for process in processes for row in (process.results if everything else process.concerned))
    json_output.write(
        "ulp-trigger",
        {
            "dry_run": options.dry_run,
            "containers": [
                {
                    "path": container.path,
                    "patch_id": container.patch_id.hex(),
                    "target": container.target_name,
                    "build_id": container.build_id.hex(),
                    "labels": list(container.labels),
                    "superseded_by": superseded.get(container.path),
                }
                for container in containers
            ],
            "results": [report.row(result) for result in shown],
            "processes": {
                "patched": counts.patched,
                "skipped": counts.skipped,
                "failed": counts.failed,
                "not_concerned": counts.not_concerned,
                "looked_at": survey.looked_at,
                "unseen": len(survey.unseen),
            },
        },
    )


def _print_lines(
    options: argparse.Namespace,
    containers: Sequence[Container],
    superseded: dict[str, str],
    survey: Survey,
    processes: Sequence[report.Process],
) -> None:
    counts = report.count(processes)
    if not options.quiet:
        ink = paint(options.color)
        if options.verbose:
            for old, new in superseded.items():
                print(f"ulp: {_base(old)} is left out, {_base(new)} comes in its place")
        for process in processes:
            results = process.concerned
            if options.verbose or (results and options.disable_summarization):
                results = process.results if process.is_one or options.process else []
            elif not results and options.process:
                results = process.results[:1]
            summarize = not options.disable_summarization
            for line in report.lines(
                process, results, verbose=options.verbose, ink=ink, summarize=summarize
            ):
                print(line)
        if counts.not_concerned and not options.process:
            print(f"ulp: {_others(counts.not_concerned, options, containers)}.")
        if survey.unseen:
            print(f"ulp: {sanitize(hidden.sentence(survey.unseen))}.")
    verb = "that would be patched" if options.dry_run else "patched"  # reverted ones, too, as libpulp has it
    skipped = counts.skipped + (counts.not_concerned if options.process else 0)  # who is named, is listed
    print(f"ulp: Processes {verb}: {counts.patched}, Skipped: {skipped}, Failed: {counts.failed}.")
    if not options.quiet:
        sys.stdout.flush()
        for hint in report.remedies(result for process in processes for result in process.results):
            print(f"hint: {hint}", file=sys.stderr)


def _others(number: int, options: argparse.Namespace, containers: Sequence[Container]) -> str:
    others = report.processes(number, "other ")
    if options.revert or not containers:
        return f"{others} had nothing to revert"
    targets = enumerate_words(sorted({sanitize(container.target_name) for container in containers}))
    return f"{others} {'does' if number == 1 else 'do'} not use {targets}"


def _base(path: str) -> str:
    return sanitize(os.path.basename(path))


def _is_wildcard(options: argparse.Namespace) -> bool:
    """Say whether libpulp's trigger would see a wildcard, after which it tells nothing by its exit status."""
    return any("*" in word for word in options.containers)


def _status(options: argparse.Namespace, processes: Sequence[report.Process]) -> int:
    results = [result for process in processes for result in process.results]
    if options.libpulp_exit_status:
        if _is_wildcard(options):
            return 0
        # there a revert of what is not applied is an error in every process that uses the library
        named = options.revert and options.process
        return libpulp_status.of_results(r for r in results if named or r.reason is not Reason.NOT_APPLIED)
    reasons = {result.reason for result in results}
    failures = set(filter(report.is_failure, reasons))
    if not failures and (options.process or options.user) and reasons <= _LEFT_ALONE:
        return ExitStatus.NOTHING_MATCHED
    done = any(each.outcome is Outcome.SUCCESS or each is Reason.ALREADY_APPLIED for each in reasons)
    return report.exit_status(done=done, failures=failures)
