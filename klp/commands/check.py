# SPDX-License-Identifier: GPL-2.0-or-later
"""Say through the exit status whether a transition is going on.

For scripts: nothing is printed.

Exit status:
  0   the kernel is ready: no transition is going on
  1   a transition is going on
  66  or higher: it cannot be told, and standard error says why

Examples:
  while klp check; [ $? = 1 ]; do sleep 1; done
"""

from __future__ import annotations

from host.errors import ExitStatus
from klp.output import add_common
from klp.readiness import Readiness

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Find the exit status."""
    readiness = Readiness(options.root)
    if options.json:
        from host.json_output import write

        write("klp-check", readiness.fields())
    return ExitStatus.FAILED if readiness.moving else ExitStatus.OK
