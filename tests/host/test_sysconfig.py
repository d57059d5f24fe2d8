# SPDX-License-Identifier: GPL-2.0-or-later
"""/etc/sysconfig/livepatching is read as a shell would read it, and never run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.sysconfig import When, parse, read_livepatching, variable_for


def test_a_file_as_the_distribution_has_it(tmp_path: Path) -> None:
    file = tmp_path / "etc/sysconfig/livepatching"
    file.parent.mkdir(parents=True)
    file.write_text(
        "## Path: System/Livepatching\n\n## Type: list(always,never,auto)\n"
        "LIVEPATCH_KERNEL='auto'\nLIVEPATCH_GLIBC=\"never\" # for now\nexport LIVEPATCH_OPENSSL_3=Always\n"
        "LIVEPATCH_EMPTY=\nLIVEPATCH_ODD=sometimes\n"
    )
    read = read_livepatching(root=str(tmp_path))
    assert read.problems == ()
    assert read.when("LIVEPATCH_KERNEL") == (When.AUTO, "")
    assert read.when("LIVEPATCH_GLIBC") == (When.NEVER, "")
    assert read.when("LIVEPATCH_OPENSSL_3") == (When.ALWAYS, "")
    assert read.when("LIVEPATCH_EMPTY") == (When.AUTO, "")
    assert read.when("LIVEPATCH_ABSENT") == (When.AUTO, "")
    when, problem = read.when("LIVEPATCH_ODD")
    assert when is When.AUTO
    assert "LIVEPATCH_ODD is 'sometimes', not auto, always or never" in problem


def test_without_the_file_all_is_auto(tmp_path: Path) -> None:
    assert read_livepatching(root=str(tmp_path)).when("LIVEPATCH_GLIBC") == (When.AUTO, "")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "etc/sysconfig/livepatching").mkdir(parents=True)
    assert "cannot be read" in read_livepatching(root=str(tmp_path)).problems[0]


@pytest.mark.parametrize(
    ("package", "variable"),
    [
        ("glibc-livepatches", "LIVEPATCH_GLIBC"),
        ("openssl-1_1-livepatches", "LIVEPATCH_OPENSSL_1_1"),
        ("openssl-3-livepatches", "LIVEPATCH_OPENSSL_3"),
        ("some+odd.name", "LIVEPATCH_SOME_ODD_NAME"),
    ],
)
def test_variables_of_packages(package: str, variable: str) -> None:
    assert variable_for(package) == variable


@pytest.mark.parametrize(
    "line", ["A=b", "A='b c'", 'A="b\'c"', "A=b\\ c", "A=b#c", "A=b #don't", "A=#c", "A=", "A=''", "A=b'c'd"]
)
def test_quoting_is_the_shells(line: str) -> None:
    shell = subprocess.run(
        ["sh", "-c", f'{line}\nprintf %s "$A"'], capture_output=True, text=True, check=True
    )
    assert parse(line) == ({"A": shell.stdout}, [])


@pytest.mark.parametrize("line", ["A=$(touch /tmp/x)", "A=`id`", "A=$HOME", "A=b; B=c", "A=b c"])
def test_nothing_is_run_or_expanded(line: str) -> None:
    values, problems = parse(line)
    assert problems or values["A"] in line


@pytest.mark.parametrize("line", ["A='b", "A = b", "A b", "=b", "1A=b", "A= b"])
def test_what_is_no_assignment_is_a_problem(line: str) -> None:
    assert parse(f"X=1\n{line}\nY=2") == ({"X": "1", "Y": "2"}, ["line 2 is not NAME=VALUE"])


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    values, problems = parse(text)
    assert all(isinstance(value, str) for value in values.values())
    assert len(values) + len(problems) <= len(text.splitlines())
