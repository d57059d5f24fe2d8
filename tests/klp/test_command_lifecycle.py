# SPDX-License-Identifier: GPL-2.0-or-later
"""klp lifecycle as its users run it, on the rpm database, the repositories and the data files of a system."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import dated, zypp_root
from tests.support.dated import TODAY
from tests.support.documentation import contradictions
from tests.support.kernel_tree import write_module, write_patch
from tests.support.klp import NAME, RELEASE
from tests.support.rpms import Spec
from tests.support.zypp_root import ZyppRoot

DATA = "usr/share/lifecycle/data/SLES.lifecycle"
PRODUCT = "<product><name>SLES</name><version>15.6</version></product>"


def day(days: int) -> str:
    return (TODAY + datetime.timedelta(days=days)).isoformat()


def spec(version: int, **more: Any) -> Spec:
    return Spec(name=NAME, version=str(version), release="150600.2.1", **more)


def lifecycle(system: ZyppRoot, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*dated.command("klp.cli"), "lifecycle", *arguments, "--root", str(system.root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ZyppRoot:
    """Version 2 is installed and runs, a repository has 1 to 4."""
    system = zypp_root.make(tmp_path_factory.mktemp("system"))
    path = write_module(system.root, RELEASE, "livepatch-2-150600_2_1.ko")
    system.install(spec(2, files={path: system.root / path[1:]}))
    system.add_repository("updates", *map(spec, (1, 2, 3, 4)), settings="name=Updates")
    system.write("etc/products.d/SLES.prod", PRODUCT)
    write_patch(system.root, "livepatch_2_150600_2_1")
    return system


@pytest.fixture
def system(made: ZyppRoot) -> ZyppRoot:
    """The same for each test."""
    made.write(DATA, f"{NAME},*,{day(100)}\n")
    (made.root / "etc/zypp-livepatch.conf").unlink(missing_ok=True)
    return made


def test_until_when_the_running_live_patch_is_maintained(system: ZyppRoot) -> None:
    done = lifecycle(system)
    assert done.stdout == (
        f"livepatch_2_150600_2_1: maintained until {day(100)}, 100 days are left\n"
        f"    package: {NAME} 2-150600.2.1\n"
        f"    newest: 4-150600.2.1, from Updates: 'zypper update {NAME}'\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("days", "status", "words"),
    [
        (31, 0, "31 days are left"),
        (30, 1, "30 days are left, not more than the 30 of the warning"),
        (1, 1, "1 day is left, not more than the 30 of the warning"),
        (0, 2, "not maintained any more since"),
        (-400, 2, "not maintained any more since"),
        (None, 2, "it is not known until when it is maintained"),
    ],
)
def test_the_exit_status_answers(system: ZyppRoot, days: int | None, status: int, words: str) -> None:
    system.write(DATA, "" if days is None else f"{NAME},2-*,{day(days)}\n{NAME},4-*,{day(900)}\n")
    done = lifecycle(system)
    assert words in done.stdout
    assert (done.returncode, done.stderr) == (status, "")
    if days is not None:
        assert f"4-150600.2.1, from Updates, maintained until {day(900)}" in done.stdout


def test_the_threshold_is_configured(system: ZyppRoot) -> None:
    system.write("etc/zypp-livepatch.conf", "[lifecycle]\nwarn-days = 200\n")
    assert lifecycle(system).returncode == 1
    system.write("etc/zypp-livepatch.conf", "[lifecycle]\nwarn-days = many\n")
    done = lifecycle(system)
    assert (done.returncode, done.stdout) == (78, "")
    assert "[lifecycle] warn-days is 'many', but it takes a whole number from 0 to 3650" in done.stderr


def test_what_is_installed_is_told_apart_from_what_runs(tmp_path: Path) -> None:
    system = zypp_root.make(tmp_path)
    path = write_module(system.root, RELEASE, "livepatch-3-150600_2_1.ko")
    system.install(spec(3, files={path: system.root / path[1:]}))
    system.write("etc/products.d/SLES.prod", PRODUCT)
    system.write(DATA, f"{NAME},2-*,{day(5)}\n{NAME},*,{day(200)}\n{NAME},2-*,{day(5)}\n")
    write_patch(system.root, "livepatch_2_150600_2_1")
    done = lifecycle(system)
    assert done.stdout == (
        f"livepatch_2_150600_2_1: maintained until {day(5)}, 5 days are left, not more than the 30 of the warning\n"
        f"    package: {NAME} 2-150600.2.1\n"
        "    installed: 3-150600.2.1, which is not what runs\n"
        "    newest: no repository has it\n"
    )
    assert done.returncode == 1


def test_a_kernel_without_live_patch(tmp_path: Path) -> None:
    system = zypp_root.make(tmp_path)
    done = lifecycle(system)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "klp: the kernel runs no live patch\n")


def test_what_cannot_be_read_is_told(system: ZyppRoot) -> None:
    system.write(DATA, f"{NAME},*,2026-13-01\n")
    done = lifecycle(system)
    assert done.returncode == 2
    assert f"{DATA}:1: '2026-13-01' is no date: write YYYY-MM-DD" in done.stderr
    system.write(DATA, "/(a+)+$/,*,2030-01-01\n")
    (system.root / "etc/products.d/bad.prod").write_text("<product")
    done = lifecycle(system)
    (system.root / "etc/products.d/bad.prod").unlink()
    assert (done.returncode, done.stdout) == (65, "")
    assert "bad.prod is not an XML file" in done.stderr


def test_for_programs(system: ZyppRoot) -> None:
    document = json.loads(lifecycle(system, "--json").stdout)
    assert document["standing"] == "covered"
    [patch] = document["live_patches"]
    assert (patch["patch"], patch["end"], patch["days"]) == ("livepatch_2_150600_2_1", day(100), 100)
    assert (patch["newest"], patch["repository"]) == ("4-150600.2.1", "Updates")
    assert contradictions(document) == []
