# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that the administrator leaves out, in a real commit."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from tests.support import cgroups
from tests.support.commits import (
    FIRST,
    LIBRARY,
    OLD,
    PACKAGE,
    at_terminal,
    line_of,
    packages,
    report,
    target,
)
from tests.support.sandbox import sandbox
from tests.support.targets import answers_library, caller, running
from tests.support.users import user

EXCLUDE = "etc/zypp-livepatch/exclude.d/test.conf"
UNIT = f"zlp-{os.getpid()}.service"
NOBODYS = 54321  # no user has this number


def test_who_is_left_out_is_not_touched_and_named(tmp_path: Path) -> None:
    special = Path(shutil.copy(caller(answers_library(name=LIBRARY)), tmp_path / "special"))
    with ExitStack() as stack:
        machine = stack.enter_context(sandbox())
        machine.add_packages(*packages())
        group = stack.enter_context(cgroups.unit(UNIT))
        free = stack.enter_context(target())
        by_path = stack.enter_context(running(special))
        by_unit = stack.enter_context(target())
        (group / "cgroup.procs").write_text(str(by_unit.pid))
        by_user = stack.enter_context(running(caller(answers_library(name=LIBRARY)), wrapper=user(NOBODYS)))
        machine.write(EXCLUDE, f"path = {tmp_path}/spec*\nunit = {UNIT}\nuser = {NOBODYS}\n")
        shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
        assert [each.answers()[0] for each in (free, by_path, by_unit, by_user)] == [FIRST, OLD, OLD, OLD]
        status = machine.run("ulp", "status", "--library", LIBRARY, "-v", check=False)
        rows = {row["pid"]: row for row in report(machine)["processes"]}
        for line, process in enumerate((by_path, by_unit, by_user), start=1):
            row = rows[process.pid]
            assert (row["outcome"], row["reason"]) == ("SKIPPED", "excluded")
            assert row["sentence"].startswith(f"left out by /{EXCLUDE}, line {line}: ")
            assert row["sentence"] in status.output
        assert f"1 of 4 processes that use {LIBRARY}" in line_of(shown) and "3 left out" in line_of(shown)
        assert "exclude.d leave processes out" in status.errors
        assert status.status == 1

        (machine.root / EXCLUDE).write_text(f"package = {PACKAGE}\n")
        machine.zypper("install", f"{PACKAGE}=2")
        assert free.answers()[0] == FIRST
        [package] = report(machine)["packages"]
        assert package["notes"] == [
            f"{PACKAGE} patches no process: left out by /{EXCLUDE}, line 1: package = {PACKAGE}"
        ]

        (machine.root / EXCLUDE).write_text("user = \n")
        shown = at_terminal(machine, "install", "--force", f"{PACKAGE}=2").output
        assert free.answers()[0] == FIRST
        wrong = f"/{EXCLUDE}, line 1: user = '' is no pattern"
        assert line_of(shown).startswith(f"Live patching: no process was patched: {wrong}")
        assert machine.run("zypper", "livepatch", "report", check=False).status == 1
        status = machine.run("ulp", "status", "--library", LIBRARY, check=False)
        assert f"ulp: {wrong}; live patches are not applied automatically" in status.errors
        assert (
            machine.run("ulp", "trigger", "-p", str(by_path.pid), f"/usr/lib64/{PACKAGE}/2/*.so").status == 0
        )
        assert by_path.answers()[0] != OLD
