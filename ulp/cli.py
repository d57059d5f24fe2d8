# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``ulp``."""

from __future__ import annotations

import gc
import os
from typing import NoReturn

from host.command_line import run

COMMANDS = (
    "trigger",
    "patches",
    "check",
    "status",
    "lifecycle",
    "downgrade",
    "watch",
    "messages",
    "set_patchable",
    "dump",
    "packer",
    "post",
    "extract",
    "livepatchable",
)
_COLLECT_AFTER = 100_000  # objects; the first collections would only look at what imports have just made


def main() -> NoReturn:
    """Run ``ulp`` with the arguments of the process, and end the process with its exit status."""
    gc.set_threshold(_COLLECT_AFTER)
    status = run(program="ulp", package="ulp.commands", commands=COMMANDS)
    # all output is flushed; taking the interpreter apart would take a tenth of the time of a short command
    os._exit(status)
