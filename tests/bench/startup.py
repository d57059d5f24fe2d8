# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a command's start-up goes: plain Python, the command, and its imports (informative, no goal)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, human
from tests.bench.tools import run as run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan

COMMANDS = (("ulp", "trigger", "--help"), ("klp", "status"), ("zypp-livepatch-commit",))
_MOST = 5  # modules that are named


def run(plan: Plan) -> Iterator[Row]:
    """Time plain Python and every command."""
    yield _timed(plan, "python -c pass", [sys.executable, "-c", "pass"])
    yield _timed(plan, "python -S -E -c pass", [sys.executable, "-S", "-E", "-c", "pass"])
    directory = plan.ours.command.parent
    for name, *arguments in COMMANDS:
        command = [str(directory / name), *arguments]
        if Path(command[0]).exists():
            yield _timed(plan, " ".join((name, *arguments)), command, imports=True)


def _timed(plan: Plan, case: str, command: list[str], *, imports: bool = False) -> Row:
    environment = plan.ours.own_environment
    note = ""
    values: list[float] = []
    try:
        run_command(command, environment=environment)
        for _ in range(plan.commands):
            machine.wait_until_quiet(plan.patience)
            values.append(run_command(command, environment=environment).seconds)
        if imports:
            note = imported(command, environment)
    except Exception as error:
        return Row(benchmark="startup", case=case, tool="ulp", wrong=str(error))
    return Row(benchmark="startup", case=case, tool="ulp", values=tuple(values), note=note)


def imported(command: list[str], environment: dict[str, str]) -> str:
    """Return how many modules a Python command imports, how long that takes, and the most expensive ones."""
    words = [sys.executable, "-X", "importtime", *command]
    trace = subprocess.run(
        words, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    ).stderr
    own: list[tuple[float, str]] = []
    for line in trace.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdigit():
            own.append((int(parts[0]) / 1e6, parts[2].strip()))
    dearest = ", ".join(
        f"{name} {human(seconds, 's')}" for seconds, name in sorted(own, reverse=True)[:_MOST]
    )
    return f"{len(own)} modules in {human(sum(seconds for seconds, _ in own), 's')}: {dearest}"
