# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: how properties are tried, and an end of a run that says loudly what did not run."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support import libpulp
from tests.support.machine import absence

# what is slow because the machine is busy is no failure
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that wanted libpulp, or a real kernel, and had none."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in (*libpulp.not_run(skipped), *absence.not_run(skipped)):
        terminalreporter.write_line("")
        terminalreporter.write_line(line, yellow=True, bold=True)
