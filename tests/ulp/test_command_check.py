# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp check``: does a process, or everything that uses the library, run the fixed functions?"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.documentation import contradictions
from tests.support.livepatches import ten_functions, trigger, ulp
from tests.support.targets import answers_library, caller, running
from tests.support.users import NOBODY, ordinary_user

NAME = f"libcheck{os.getpid()}.so.0"


@pytest.fixture(name="library", scope="module")
def _library() -> Path:
    return answers_library(name=NAME)


@pytest.fixture(name="container", scope="module")
def _container(library: Path) -> Path:
    return ten_functions(200, library=library)


def everything_is_visible() -> bool:
    """Root sees every process, except where a container's or sandbox's process 1 is hidden from it."""
    return "could not be looked at" not in ulp("patches").stderr


def test_one_process_before_and_after(container: Path, library: Path) -> None:
    with running(caller(library)) as target:
        words = ("check", "-p", str(target.pid), str(container))
        said = ulp(*words)
        assert (said.status, said.stderr) == (1, "")
        assert said.stdout == (
            f"  caller (pid: {target.pid}): NOT APPLIED answers_livepatch200.so\n"
            f"ulp: answers_livepatch200.so is applied in 0 of 1 process that uses this build of {NAME}.\n"
        )
        trigger(target, container)
        said = ulp(*words)
        assert (said.status, said.stderr) == (0, "")
        assert said.stdout == (
            f"  caller (pid: {target.pid}): APPLIED answers_livepatch200.so\n"
            f"ulp: answers_livepatch200.so is applied in 1 of 1 process that uses this build of {NAME}.\n"
        )
        said = ulp("check", "-q", "-p", str(target.pid), container)
        assert (said.status, said.stdout, said.stderr) == (0, "", "")


def test_a_later_live_patch_in_its_place_is_named(container: Path, library: Path) -> None:
    with running(caller(library)) as target:
        trigger(target, ten_functions(300, library=library))
        said = ulp("check", "-p", str(target.pid), container)
        assert said.status == 1
        assert "NOT APPLIED answers_livepatch200.so, it holds answers_livepatch300.so\n" in said.stdout


def test_everything_that_uses_the_build(container: Path, library: Path) -> None:
    said = ulp("check", container)
    assert said.status == 2
    assert said.stdout.endswith(f"is applied nowhere, no process uses this build of {NAME}.\n")
    with running(caller(library)) as one, running(caller(library)) as two:
        trigger(one, container)
        said = ulp("check", container)
        assert said.status == 3
        assert f"  caller (pid: {two.pid}): NOT APPLIED" in said.stdout and str(one.pid) not in said.stdout
        trigger(two, container)
        said = ulp("check", container)
        assert said.status == (0 if everything_is_visible() else 77)
        assert said.stdout.endswith(f"is applied in 2 of 2 processes that use this build of {NAME}.\n")
        assert f"  caller (pid: {one.pid}): APPLIED" in ulp("check", "-v", container).stdout


def test_a_process_that_does_not_use_it_and_one_that_maps_nothing(container: Path) -> None:
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        for pid in (os.getpid(), zombie.pid):
            said = ulp("check", "-p", str(pid), container)
            assert said.status == 2
            assert f"(pid: {pid}): SKIPPED does not use {NAME} of build " in said.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_cannot_be_seen_is_not_proven(container: Path, library: Path) -> None:
    with running(caller(library), wrapper=NOBODY) as own:
        trigger(own, container)
        said = ulp("check", container, prefix=ordinary_user())
        assert said.status == 77
        assert "processes of other users could not be looked at; root can.\n" in said.stdout
        assert "is applied in 1 of 1 process" in said.stdout
        assert ulp("check", "-p", "1", container, prefix=ordinary_user()).status == 77


def test_json(container: Path, library: Path) -> None:
    with running(caller(library)) as target:
        document = json.loads(ulp("check", "--json", "-p", str(target.pid), container).stdout)
    assert (document["schema"], document["version"], document["unseen"]) == (
        "zypp-livepatch/ulp-check",
        1,
        0,
    )
    assert contradictions(document) == []
    (finding,) = document["findings"]
    assert (finding["pid"], finding["applied"], finding["others"]) == (target.pid, False, [])
    assert (finding["container"], finding["target"]) == (str(container), NAME)


def test_what_cannot_be_checked(container: Path, library: Path) -> None:
    assert ulp("check").status == 64
    assert ulp("check", "-p", "99999999", container).status == 66
    assert ulp("check", library).status == 65
    assert ulp("check", "/nonexistent.so").status == 66
