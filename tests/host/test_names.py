# SPDX-License-Identifier: GPL-2.0-or-later
"""Under which name a command of ours is reached, on machines on which others have the usual one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sandbox import PROJECT

ASK = "from host.names import command; print(command('ulp trigger -v'))"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The programs as the package installs them, without the links of the usual names."""
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "home/ulp"
    program.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, '{PROJECT}'); {ASK}\n")
    program.chmod(0o755)
    (tmp_path / "bin/zypp-ulp").symlink_to(program)
    return tmp_path


def said(place: Path, program: str, *, path: str = "bin") -> str:
    command = [str(place / program)]
    environment = {"PATH": ":".join(str(place / each) for each in path.split(":"))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_usual_name_is_ours(place: Path) -> None:
    (place / "bin/ulp").symlink_to(place / "home/ulp")
    assert said(place, "bin/ulp") == "ulp trigger -v\n"
    assert said(place, "bin/zypp-ulp") == "zypp-ulp trigger -v\n", "who typed that is told that"


def test_the_usual_name_is_somebody_elses(place: Path) -> None:
    (place / "bin/ulp").write_text("#!/bin/sh\n")
    (place / "bin/ulp").chmod(0o755)
    assert said(place, "bin/zypp-ulp") == "zypp-ulp trigger -v\n"
    assert said(place, "home/ulp") == "zypp-ulp trigger -v\n", "as a unit of systemd starts it"
    assert said(place, "home/ulp", path="home:bin") == "ulp trigger -v\n", "PATH makes it ours"


def test_nobody_has_the_usual_name(place: Path) -> None:
    assert said(place, "home/ulp") == "zypp-ulp trigger -v\n"


def test_it_was_not_installed_from_a_package(place: Path) -> None:
    (place / "bin/zypp-ulp").unlink()
    assert said(place, "home/ulp") == "ulp trigger -v\n"
