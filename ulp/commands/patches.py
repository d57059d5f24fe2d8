# SPDX-License-Identifier: GPL-2.0-or-later
"""List the live patches that running processes hold.

Shows every process that holds one or preloads libpulp, with the libraries that libpulp could patch in it. -p
shows the chosen processes whether they hold one or not; where there is no libpulp, with all libraries that
they map, since any of them could be patched. No process is stopped for it.

Exit status: 0 when the list is printed, and be it empty; 2 when a pattern after -p fits no process; 66 when a
pid or user does not exist; 77 when a pid belongs to somebody else.

Examples:
  ulp patches
  ulp patches -p 'nginx*' -b
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from host.errors import ExitStatus
from host.terminal import Paint, is_terminal, paint, sanitize
from ulp import hidden, libpulp_status, selection

if TYPE_CHECKING:
    from host.arguments import Parser
    from ulp.engines import Applied
    from ulp.engines.pulp.library import Libpulp
    from ulp.hidden import Hidden
    from ulp.holdings import Holding


def add_arguments(parser: Parser) -> None:
    """Add what ``ulp patches`` understands."""
    add = parser.add_argument
    add("-p", "--process", action="append", default=[], metavar="X",
        help="only these: a pid, or a pattern of names such as 'nginx*'; may be repeated")  # fmt: skip
    add("-u", "--user", action="append", default=[], metavar="USER",
        help="only processes of this user: a name, a pattern or a uid; may be repeated")  # fmt: skip
    add("-a", "--all", action="store_true", help="every process and every library that could be patched")
    add("--only-livepatched", action="store_true", help="only processes with a live patch")
    add("-b", "--buildid", action="store_true", help="show the build-ids of libraries")
    add("-v", "--verbose", action="store_true", help="show patch ids and functions, too")
    add("-q", "--quiet", action="store_true", help="no remarks on standard error")
    add("--disable-threading", action="store_true", help="taken for the sake of scripts, changes nothing")
    add("--json", action="store_true", help="for programs (docs/json.md)")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1, special={ExitStatus.NOTHING_MATCHED: 0})
def run(options: argparse.Namespace) -> int:
    """List."""
    everything = not options.only_livepatched and (options.all or bool(options.process))
    pids = selection.processes(options.process, users=options.user, readable=True)
    from ulp.holdings import applied

    found, unseen = applied(pids=pids, libraries=everything, livepatchable=not options.all)
    holdings = [
        holding._replace(libraries=_shown(holding, options))
        for holding in found
        if holding.patches
        or holding.problem
        or everything
        or (holding.has_libpulp and not options.only_livepatched)
    ]
    if options.json:
        _print_json(holdings, unseen)
        return ExitStatus.OK
    ink = paint(options.color)
    sys.stdout.writelines(
        f"{line}\n"
        for holding in holdings
        for line in lines(holding, build_ids=options.buildid, verbose=options.verbose, ink=ink)
    )
    if not options.quiet:
        sys.stdout.flush()
        if unseen:
            print(f"ulp: {sanitize(hidden.sentence(unseen))}.", file=sys.stderr)
        if not holdings and is_terminal(sys.stdout):
            print("ulp: none of the processes holds a live patch.", file=sys.stderr)
    return ExitStatus.OK


def _shown(holding: Holding, options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Return the libraries to be listed whether they have a live patch or not."""
    return holding.livepatchable if holding.has_libpulp and not options.all else holding.libraries


def lines(holding: Holding, *, build_ids: bool, verbose: bool, ink: Paint) -> Iterator[str]:
    """Yield the lines of one process in the form that scripts know from libpulp's ``ulp patches``."""
    yield f"PID: {holding.pid}, name: {sanitize(holding.name)}"
    if holding.obstacle:
        status = ink.bad(f"disabled (internal error: {sanitize(holding.obstacle)})")
    elif holding.is_disabled_by_user:
        status = ink.warn("disabled by user")
    else:
        status = ink.good("enabled")
    yield f"  Livepatching status: {status}"
    yield "  Livepatchable libraries:"
    patches: dict[str, list[Applied]] = {path: [] for path, _ in holding.libraries}
    ids = dict(holding.libraries)
    for patch in holding.patches:
        patches.setdefault(patch.library, []).append(patch)
        ids.setdefault(patch.library, patch.build_id.hex())
    for path, applied in patches.items():
        build_id = f" ({ids[path]})" if build_ids and ids[path] else ""
        own = holding.libpulp if holding.libpulp and holding.libpulp.path == path else None
        version = f" (version {sanitize(own.version)})" if own and own.version else ""
        yield f"    in {sanitize(path)}{build_id}{version}:"
        for patch in applied:
            loaded = "" if math.isnan(patch.time) else f" loaded on {when(patch.time)}"
            yield f"      livepatch: {sanitize(os.path.basename(patch.container))}{loaded}"
            if patch.labels:  # the blank at the end is libpulp's
                yield f"        bug labels: {''.join(f'{sanitize(label)} ' for label in patch.labels)}"
            if (copies := holding.copies_of(patch.build_id)) > 1:
                yield f"        {ink.bad(f'only in one of {copies} copies of the library')}"
            if verbose:
                yield f"        patch id: {patch.patch_id.hex()}"
                yield f"        functions: {sanitize(', '.join(patch.functions))}"
    yield ""


def when(seconds: float) -> str:
    """Return the time in words; what a process's own record says may be no time at all."""
    try:
        return time.asctime(time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "an unknown date"


def _print_json(holdings: Sequence[Holding], unseen: Sequence[Hidden]) -> None:
    from host import json_output

    json_output.write(
        "ulp-patches",
        {
            "processes": [
                {
                    "pid": holding.pid,
                    "name": holding.name,
                    "has_libpulp": holding.has_libpulp,
                    "libpulp": _libpulp_row(holding.libpulp),
                    "status": _status(holding),
                    "obstacle": holding.obstacle,
                    "patches": [
                        {**patch_row(patch), "copies": holding.copies_of(patch.build_id)}
                        for patch in holding.patches
                    ],
                    "libraries": [
                        {"path": path, "build_id": build_id} for path, build_id in holding.libraries
                    ],
                }
                for holding in holdings
            ],
            "unseen": len(unseen),
        },
    )


def _status(holding: Holding) -> str:
    if holding.obstacle:
        return "internal-error"
    return "disabled-by-user" if holding.is_disabled_by_user else "enabled"


def _libpulp_row(libpulp: Libpulp | None) -> dict[str, object] | None:
    if libpulp is None:
        return None
    return {"path": libpulp.path, "version": libpulp.version, "error_state": libpulp.error_state}


def patch_row(patch: Applied) -> dict[str, object]:
    """Return an applied live patch as JSON has it (docs/json.md)."""
    return {
        "patch_id": patch.patch_id.hex(),
        "container": patch.container,
        "library": patch.library,
        "build_id": patch.build_id.hex(),
        "functions": list(patch.functions),
        "labels": list(patch.labels),
        "time": patch.time if math.isfinite(patch.time) else None,
        "engine": patch.engine,
    }
