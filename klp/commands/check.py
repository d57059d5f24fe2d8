# SPDX-License-Identifier: GPL-2.0-or-later
"""Say through the exit status whether a transition is going on.

For scripts: prints nothing, and exits with 0 if the kernel is ready, 1 while a transition is going on,
another status if that cannot be told.
"""

from __future__ import annotations

from host.errors import ExitStatus
from klp.commands.status import transitions, word
from klp.output import add_common

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Find the exit status."""
    moving, problems = transitions(options.root)
    if options.json:
        from host.json_output import write

        sentences = [problem.sentence for problem in problems]
        write("klp-check", {"state": word(moving), "transitions": moving, "problems": sentences})
    return ExitStatus.FAILED if moving else ExitStatus.OK
