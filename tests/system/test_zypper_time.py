# SPDX-License-Identifier: GPL-2.0-or-later
"""A commit with nothing for us costs hardly more than one without the plugin; here with a wide margin."""

from __future__ import annotations

import statistics
import time

from tests.support import rpms
from tests.support.sandbox import PLUGIN, sandbox

LIMIT = 0.3  # seconds; 0.06 is the aim on a quiet machine, which "make bench" measures


def test_an_ordinary_commit_is_not_delayed() -> None:
    with sandbox() as machine:
        machine.add_packages(rpms.Spec(name="ordinary"))

        def commits() -> float:
            took = []
            for _ in range(3):
                for command in ("install", "remove"):
                    began = time.monotonic()
                    machine.zypper(command, "ordinary")
                    took.append(time.monotonic() - began)
            return statistics.median(took)

        with_plugin = commits()
        (machine.root / PLUGIN).unlink()
        assert with_plugin - commits() < LIMIT
