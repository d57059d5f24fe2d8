# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share: how properties are tried, and an end of a run that says loudly what did not run."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.support import libpulp, once
from tests.support.machine import absence

# what is slow because the machine is busy is no failure
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Control-C; what tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what the processes of this run had in common."""
    once.remove(session.config._tmp_path_factory)  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that wanted libpulp, or a real kernel, and had none."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in (*libpulp.not_run(skipped), *absence.not_run(skipped)):
        terminalreporter.write_line("")
        terminalreporter.write_line(line, yellow=True, bold=True)
