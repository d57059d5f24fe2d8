# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``zypper-lifecycle``, which zypper runs for ``zypper lifecycle``."""

from __future__ import annotations

import sys

from host.command_line import BROKEN_PIPE, run
from host.errors import ExitStatus

OTHER_ERROR = 2

# Documented for zypper-lifecycle: 0 and 1 for the answer, 2 for everything that kept it from being found.
_KEPT = (ExitStatus.OK, ExitStatus.FAILED, ExitStatus.INTERRUPTED, BROKEN_PIPE)


def main() -> int:
    """Run ``zypper lifecycle`` with the arguments of the process; returns its exit status."""
    arguments = ["lifecycle", *sys.argv[1:]]
    status = run(program="zypper", package="lifecycle.commands", commands=("lifecycle",), argv=arguments)
    return status if status in _KEPT else OTHER_ERROR
