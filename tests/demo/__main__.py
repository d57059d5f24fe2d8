# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the demo: a program of our own, then a TLS server with the distribution's libcrypto."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.demo import answer, stage, tls
from tests.support.sandbox import sandbox


def main() -> int:
    """Play all acts; returns the exit status."""
    if os.geteuid() != 0:
        print(
            "The demo installs packages with zypper into a sandbox: it needs root. Try: sudo make demo",
            file=sys.stderr,
        )
        return 77
    began = time.monotonic()
    stage.introduce(
        "zypp-livepatch: when zypper installs a live patch, everything that runs is patched",
        [
            """You will see two programs that run, a mistake in a library that each of them uses, and zypper
            installing live patch packages. No program is restarted, none was started in any special way.""",
            """All of it happens in a sandbox: a root of its own in memory for zypper and rpm, and a process
            namespace. Nothing of this machine is changed, and nothing stays. It takes about 10 seconds.""",
        ],
    )
    with tempfile.TemporaryDirectory(prefix="demo-") as bench, sandbox(private=True) as machine:
        answer.play(machine, Path(bench))
        tls.play(machine, Path(bench))
    print()
    stage.tell(f"That was all, in {time.monotonic() - began:.0f} seconds. The sandbox is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
