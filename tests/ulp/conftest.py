# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the room ``ulp`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from host.command_line import run
from ulp.cli import COMMANDS

Ulp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ulp(capfd: pytest.CaptureFixture[str]) -> Ulp:
    """Run ``ulp`` with these words in this process; returns exit status, standard output and error."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        status = run(
            program="ulp", package="ulp.commands", commands=COMMANDS, argv=[str(word) for word in words]
        )
        return status, *capfd.readouterr()

    return call
