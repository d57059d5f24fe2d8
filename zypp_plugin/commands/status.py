# SPDX-License-Identifier: GPL-2.0-or-later
"""Say whether this machine is covered by live patches, kernel and processes, until when, and what is to be done.

Without a command, 'zypper livepatch' does this. Nothing is changed and nobody is stopped. Details are for
'ulp status', 'klp patches -v' and 'zypper lifecycle'.

Exit status:
  0   covered
  1   something is to be done: patch, wait for the kernel, update, reboot
  2   not covered: something lacks a fix and cannot be patched now
  3   not known

Examples:
  zypper livepatch status
  zypper livepatch status --cve CVE-2025-1234
  zypper livepatch status --metrics --output livepatch.prom
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from host.errors import ExitStatus, UsageError
from zypp_plugin.overview import Finding, Overview, Standing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from host.terminal import Paint

_WORDS = {
    Standing.COVERED: "ok",
    Standing.UNKNOWN: "unknown",
    Standing.TODO: "to do",
    Standing.NOT_COVERED: "not covered",
}
_PARTS = {
    "processes": "Processes",
    "kernel": "Kernel",
    "later": "Later processes",
    "support": "Support",
    "updates": "Updates",
    "exemptions": "Exemptions",
    "reboot": "Reboot",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``zypper livepatch status`` understands."""
    add = parser.add_argument
    add(
        "--cve",
        default="",
        metavar="ID",
        help="whether the fix for this CVE (or bug: bsc#1234567) is in use",
    )
    add("--json", action="store_true", help="for programs (docs/json.md)")
    add("--metrics", action="store_true", help="for Prometheus: text for node_exporter's textfile collector")
    add("--output", default="", metavar="FILE", help="write into this file, at once or not at all")


def run(options: argparse.Namespace) -> ExitStatus:
    """Look, and say."""
    from klp.cves import normalize
    from zypp_plugin.look import look

    if options.json and options.metrics:
        raise UsageError("--json and --metrics contradict each other")
    if options.output and not (options.json or options.metrics):
        raise UsageError("--output goes with --json or --metrics")
    overview = look(cve=normalize(options.cve) if options.cve else "")
    if options.metrics:
        from zypp_plugin.metrics import text

        _write(text(overview, now=time.time()), options.output)
    elif options.json:
        from host.json_output import document, dumps

        _write(dumps(document("livepatch-status", _fields(overview)), indent=2) + "\n", options.output)
    else:
        _show(overview, choice=options.color)
    return overview.status


def _write(text: str, output: str) -> None:
    if not output:
        print(text, end="")
        return
    from host.files import write_file

    write_file(output, text.encode())


def _fields(overview: Overview) -> dict[str, object]:
    import dataclasses

    return {
        "cve": overview.cve or None,
        "status": overview.standing.value,
        "summary": overview.sentence,
        "until": overview.until.isoformat() if overview.until else None,
        "findings": [dataclasses.asdict(finding) for finding in overview.findings],
        "processes": dataclasses.asdict(overview.processes),
        "restarts": list(overview.restarts),
        "reboot": overview.reboot,
        "kernel": [{"patch": name, "state": state} for name, state in overview.kernel],
        "packages": [
            {
                "name": each.package,
                "evr": each.evr,
                "until": each.until.isoformat() if each.until else None,
                "update": each.update or None,
            }
            for each in overview.supports
        ],
        "watcher": overview.watcher,
    }


def _show(overview: Overview, *, choice: str) -> None:
    from host.terminal import paint, sanitize, table, terminal_width

    ink = paint(choice)
    colors = _colors(ink)

    def style(column: int, text: str) -> str:
        if column == -1:
            return ink.strong(text)
        word = text.strip()
        if column == 1 and word:
            return next((colors[each] for each, shown in _WORDS.items() if shown == word), str)(text)
        return text

    cells = [(_PARTS[each.part], _word(each, overview), each.sentence) for each in overview.findings]
    print(
        table(cells, heads=("WHAT", "STATE", "DETAILS"), right=(), width=terminal_width(), style=style),
        end="",
    )
    print(f"\n{colors[overview.standing](sanitize(_capitalized(overview.sentence)) + '.')}")
    for action in dict.fromkeys(each.action for each in overview.findings if each.action):
        print(f"  {sanitize(action)}")


def _word(finding: Finding, overview: Overview) -> str:
    # it is for the administrator to want it
    return "off" if finding.part == "later" and not overview.watcher else _WORDS[finding.standing]


def _colors(ink: Paint) -> dict[Standing, Callable[[str], str]]:
    return {
        Standing.COVERED: ink.good,
        Standing.UNKNOWN: ink.warn,
        Standing.TODO: ink.warn,
        Standing.NOT_COVERED: ink.bad,
    }


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
