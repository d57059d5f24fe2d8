# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell whether a transition is going on: ready or in_progress.

Prints 'ready' when every thread runs with the live patches as they are switched, 'in_progress' while the
kernel still moves threads to a live patch or off it. A kernel without live patches is ready.

Exit status: 0 when the answer is printed, whichever it is; 66 or higher when it cannot be told.
"""

from __future__ import annotations

from host.errors import ExitStatus
from klp.output import add_common, remark
from klp.readiness import Readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the state."""
    readiness = Readiness(options.root)
    if options.json:
        from host.json_output import write

        write("klp-status", readiness.fields())
        return ExitStatus.OK
    print(readiness.word)
    remark(readiness.sentences)
    return ExitStatus.OK
