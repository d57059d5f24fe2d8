# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: the end of a run says loudly what did not run."""

from __future__ import annotations

import pytest

from tests.support.libpulp import not_run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that wanted libpulp and had none."""
    for line in not_run(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line("")
        terminalreporter.write_line(line, yellow=True, bold=True)
