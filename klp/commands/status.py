# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell whether a transition is going on: ready or in_progress.

Prints 'ready' when every thread runs with the live patches as they are switched, 'in_progress' while the
kernel still moves threads to a live patch or off it. A kernel without live patches is ready.

Exit status: 0 when the answer is printed, whichever it is; 66 or higher when it cannot be told.
"""

from __future__ import annotations

from host.errors import Error, ExitStatus
from klp import sysfs
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the state."""
    moving, problems = transitions(options.root)
    if options.json:
        from host.json_output import write

        sentences = [problem.sentence for problem in problems]
        write("klp-status", {"state": word(moving), "transitions": moving, "problems": sentences})
        return ExitStatus.OK
    print(word(moving))
    remark(problem.sentence for problem in problems)
    return ExitStatus.OK


def transitions(root: str) -> tuple[list[str], list[Error]]:
    """Return the live patches in transition and what could not be read beside them.

    Raises the first problem if nothing is seen in transition: then nobody knows.
    """
    moving, problems = sysfs.in_transition(root)
    if problems and not moving:
        raise problems[0]
    return moving, problems


def word(moving: list[str]) -> str:
    """Return the state as scripts know it."""
    return "in_progress" if moving else "ready"
