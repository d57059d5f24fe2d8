# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell whether the running kernel has the fix for a CVE.

One line for each CVE or bug number: fixed by which live patch, or by the kernel itself; not yet, and what is missing;
or unknown, when neither the installed live patches nor the changelog of the kernel's package name it: then it may
not concern this kernel, or nobody has fixed it.

Exit status:
  0   the running kernel has the fixes, for all that was asked
  1   it has none of them, but an installed live patch brings at least one
  2   nothing names any of the numbers
  3   it has some of the fixes, not all
  69  it cannot be told, since the rpm database cannot be read

Examples:
  klp cve CVE-2025-12345
  klp cve --json CVE-2025-12345 bsc#1234567
"""

from __future__ import annotations

from collections.abc import Sequence

from host.errors import ExitStatus
from host.names import command
from host.terminal import paint, sanitize
from klp.cves import Answer, Reason, look_up, normalize
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_SENTENCES = {
    Reason.LIVE_PATCH: "fixed by the live patch {patch}",
    Reason.KERNEL: "fixed in the kernel itself, says the changelog of {package}",
    Reason.APPLYING: "not yet: {patch} fixes it and is in transition; '{klp} wait' waits for that",
    Reason.REVERTING: "no more: {patch} fixes it and is being taken back",
    Reason.NOT_IN_USE: "not yet: {package} fixes it, but its live patch is not in use ('{klp} patches -v')",
    Reason.UNKNOWN: "unknown: neither the installed live patches nor the kernel's changelog name it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "numbers", nargs="+", metavar="NUMBER", help="a CVE or bug number: CVE-2025-12345, bsc#1234567"
    )
    add_common(parser, verbose="show the package that fixes it, too")


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the answers."""
    found = look_up(map(normalize, options.numbers), root=options.root)
    problems = [problem.sentence for problem in found.problems]
    if options.json:
        from host.json_output import write

        answers = [
            {
                "number": answer.number,
                "fixed": answer.is_fixed,
                "reason": answer.reason,
                "patch": answer.patch or None,
                "package": answer.package or None,
            }
            for answer in found.answers
        ]
        write("klp-cve", {"answers": answers, "problems": problems})
    else:
        ink = paint(options.color)
        for answer in found.answers:
            words = {"patch": answer.patch, "package": answer.package, "klp": command("klp")}
            sentence = sanitize(_SENTENCES[answer.reason].format_map(words))
            if problems and not answer.is_known:
                sentence = "unknown: not everything could be read"
            color = ink.good if answer.is_fixed else ink.bad if answer.is_known else ink.warn
            package = f" ({sanitize(answer.package)})" if options.verbose and answer.patch else ""
            print(f"{answer.number}: {color(sentence)}{package}")
        remark(problems)
    return _status(found.answers, complete=not problems)


def _status(answers: Sequence[Answer], *, complete: bool) -> ExitStatus:
    if all(answer.is_fixed for answer in answers):
        return ExitStatus.OK
    if not complete:
        return ExitStatus.UNAVAILABLE
    if any(answer.is_fixed for answer in answers):
        return ExitStatus.PARTLY
    return ExitStatus.FAILED if any(answer.is_known for answer in answers) else ExitStatus.NOTHING_MATCHED
