# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patch packages in commits of real zypper; what the kernel says is a tree laid over /sys/kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from klp.package import INFO
from tests.support import rpms
from tests.support.commits import (
    FIRST,
    at_terminal,
    line_of,
    packages,
    report,
    reports,
    target,
    until,
)
from tests.support.sandbox import Sandbox, sandbox

RELEASE = os.uname().release
PACKAGE = "kernel-livepatch-6_4_0-150600_23_7-default"
PATCHES = "sys/kernel/livepatch"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox with four versions of a kernel live patch for the running kernel, and no live patch loaded.

    The third says in a file what it fixes, the others in their changelogs.
    """
    module = tmp_path / "module"
    module.write_text("a kernel module")
    info = tmp_path / "info"
    info.write_text("CVE: CVE-2025-0003 CVE-2025-0002 CVE-2025-0001\n")
    with sandbox() as made:
        made.run("mount", "-t", "tmpfs", "kernel", "/sys/kernel")
        (made.root / PATCHES).mkdir()
        made.add_packages(
            *(
                rpms.Spec(
                    name=PACKAGE,
                    version=str(version),
                    release="150600.2.1",
                    files={
                        f"/lib/modules/{RELEASE}/livepatch/livepatch-{version}-150600_2_1.ko": module,
                        **({f"/{INFO}/livepatch_3_150600_2_1-0AB": info} if version == 3 else {}),
                    },
                    changelog="" if version == 3 else _changelog(version),
                )
                for version in (1, 2, 3, 4)
            ),
            *packages(),
        )
        yield made


def _changelog(version: int) -> str:
    entries = (
        f"* Tue May {12 + number} 2025 someone@example.com\n- Fix {number}\n  KLP: CVE-2025-000{number}\n"
        for number in range(version, 0, -1)
    )
    return "\n".join(entries)


def load(machine: Sandbox, version: int, *, transition: str) -> Path:
    """Let the kernel show a live patch, as after insmod."""
    place = machine.root / PATCHES / f"livepatch_{version}_150600_2_1"
    place.mkdir()
    (place / "enabled").write_text("1\n")
    (place / "transition").write_text(f"{transition}\n")
    return place


def test_a_live_patch_that_is_in_effect(machine: Sandbox) -> None:
    load(machine, 1, transition="0")
    line = line_of(at_terminal(machine, "install", f"{PACKAGE}=1").output)
    assert line == (
        "Live patching: kernel live patch livepatch_1_150600_2_1 is in effect and brings the fixes for CVE-2025-0001"
    )
    written = report(machine)
    assert written["packages"][0]["kind"] == "kernel"
    assert written["kernel"][0]["state"] == "in-effect"


def test_a_transition_does_not_hold_zypper_and_its_end_is_reported(machine: Sandbox) -> None:
    place = load(machine, 2, transition="1")
    began = time.monotonic()
    line = line_of(at_terminal(machine, "install", f"{PACKAGE}=2").output)
    assert time.monotonic() - began < 10  # the default is to wait for a transition for 90 s
    assert "livepatch_2_150600_2_1 is in transition" in line
    assert reports(machine)[0]["state"] == "settling"
    shown = machine.run("zypper", "livepatch", "report", check=False).output
    assert "user space is done, the kernel is in transition" in shown
    (place / "transition").write_text("0\n")
    assert report(machine)["kernel"][0]["state"] == "in-effect"


def test_updates_and_downgrades_are_told_apart(machine: Sandbox) -> None:
    load(machine, 2, transition="0")
    machine.zypper("install", f"{PACKAGE}=1")
    assert report(machine)["kernel"][0]["state"] == "not-loaded"
    machine.zypper("install", f"{PACKAGE}=2")
    written = report(machine)
    assert written["packages"][0]["action"] == "updated"
    assert written["kernel"][0]["cves"] == ["CVE-2025-0002"]  # the other one was fixed before
    assert "\n  CVE-2025-0002\n" in machine.run("zypper", "livepatch", "report", check=False).output
    for version in (3, 4):
        machine.zypper("install", f"{PACKAGE}={version}")
        assert report(machine)["kernel"][0]["cves"] == [f"CVE-2025-000{version}"]
    machine.zypper("install", "--oldpackage", f"{PACKAGE}=1")
    assert report(machine)["packages"][0]["action"] == "downgraded"
    machine.zypper("remove", PACKAGE)
    written = report(machine)
    assert (written["packages"][0]["action"], written["kernel"]) == ("removed", [])


def test_kernel_and_user_space_in_one_commit(machine: Sandbox) -> None:
    machine.write("etc/sysconfig/livepatching", "LIVEPATCH_KERNEL=never\n")
    with target() as process:
        line = line_of(at_terminal(machine, "install", f"{PACKAGE}=1", "answers-livepatches=1").output)
        assert process.answers()[0] == FIRST
    assert "runs the fixed functions" in line
    assert "livepatch_1_150600_2_1 is not loaded: LIVEPATCH_KERNEL=never" in line


def test_a_second_commit_does_not_wait_for_the_transition_of_the_first(machine: Sandbox) -> None:
    place = load(machine, 1, transition="1")
    machine.zypper("install", f"{PACKAGE}=1")
    with target() as process:
        machine.zypper("install", "answers-livepatches=1")
        assert process.answers()[0] == FIRST
    first, second = reports(machine)
    assert (first["state"], second["state"]) == ("settling", "done")
    (place / "transition").write_text("0\n")
    until(lambda: reports(machine)[0]["state"] == "done", "the end of the first worker")
