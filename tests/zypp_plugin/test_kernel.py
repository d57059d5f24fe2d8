# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patches of a commit, in trees like /sys and /proc."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from host.sysconfig import When
from zypp_plugin.kernel import Kernel, Module, watch
from zypp_plugin.report import KernelRow

RELEASE = os.uname().release
MODULE = Module(package="kernel-livepatch-x", patch="livepatch_2", release=RELEASE)


def tree(root: Path, *, name: str = "livepatch_2", enabled: str = "1", transition: str = "0") -> Path:
    """A tree in which one live patch is loaded."""
    place = root / "sys/kernel/livepatch" / name
    place.mkdir(parents=True)
    (place / "enabled").write_text(f"{enabled}\n")
    (place / "transition").write_text(f"{transition}\n")
    (root / "proc").mkdir(exist_ok=True)
    return place


def task(root: Path, pid: int, state: int) -> None:
    place = root / f"proc/{pid}/task/{pid}"
    place.mkdir(parents=True)
    (place / "patch_state").write_text(f"{state}\n")
    for directory in (place, place.parents[1]):
        (directory / "comm").write_text("slow\n")
        (directory / "stat").write_text(f"{pid} (slow) S 1\n")


def look(root: Path, module: Module = MODULE, *, when: When = When.AUTO, **more: object) -> KernelRow:
    kernel = Kernel(packages=(), modules=(module,), when=when, problems=())
    options = {
        "patience": 0.0,
        "transactional": False,
        "on_wait": lambda _rows: None,
        "proc_root": str(root),
    }
    [row] = watch(kernel, **{**options, **more})  # type: ignore[arg-type]
    return row


@pytest.mark.parametrize(
    ("files", "state", "says"),
    [
        ({}, "in-effect", "kernel live patch livepatch_2 is in effect"),
        ({"enabled": "0"}, "disabled", "loaded but disabled"),
        ({"transition": "1"}, "in-transition", "is in transition"),
        ({"name": "livepatch_1"}, "not-loaded", "installed but not loaded"),
    ],
)
def test_what_the_kernel_says(tmp_path: Path, files: dict[str, str], state: str, says: str) -> None:
    tree(tmp_path, **files)
    row = look(tmp_path)
    assert row.state == state
    assert says in row.sentence


def test_another_kernel_than_the_running_one(tmp_path: Path) -> None:
    tree(tmp_path)
    row = look(tmp_path, Module(package="k", patch="livepatch_2", release="1.2.3-default"))
    assert (row.state, "is for the next boot: it is made for the kernel 1.2.3-default" in row.sentence) == (
        "other-kernel",
        True,
    )


def test_what_a_live_patch_brings_and_how_long_its_transition_took(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text(
        "6,1,1000000,-;livepatch: 'livepatch_2': starting patching transition\n"
        "6,2,1500000,-;livepatch: 'livepatch_1': patching complete\n"
        "6,3,2300000,-;livepatch: 'livepatch_2': patching complete\n SUBSYSTEM=livepatch\n"
    )
    cves = tuple(f"CVE-2025-000{number}" for number in range(7))
    row = look(tmp_path, replace(MODULE, cves=cves))
    assert (row.state, row.seconds, row.cves) == ("in-effect", 1.3, cves)
    assert row.sentence == (
        "kernel live patch livepatch_2 is in effect after 1.3 s and brings the fixes for "
        "CVE-2025-0000, CVE-2025-0001, CVE-2025-0002, CVE-2025-0003, CVE-2025-0004 and 2 more"
    )


def test_why_a_module_is_not_loaded(tmp_path: Path) -> None:
    tree(tmp_path, name="livepatch_1")
    assert "LIVEPATCH_KERNEL=never" in look(tmp_path, when=When.NEVER).sentence
    assert look(tmp_path, transactional=True).state == "left-out"
    assert look(tmp_path, transactional=True, when=When.ALWAYS).state == "not-loaded"


def test_a_transition_names_what_it_waits_for(tmp_path: Path) -> None:
    tree(tmp_path, transition="1")
    task(tmp_path, 41, 1)
    task(tmp_path, 42, 0)
    row = look(tmp_path)
    assert row.blocking == ("slow (42)",)
    assert "in transition and waits for slow (42)" in row.sentence


def test_the_end_of_a_transition_is_waited_for(tmp_path: Path) -> None:
    place = tree(tmp_path, transition="1")
    told: list[tuple[KernelRow, ...]] = []

    def end() -> None:
        time.sleep(0.5)
        (place / "transition").write_text("0\n")

    ender = threading.Thread(target=end)
    ender.start()
    row = look(tmp_path, patience=20.0, on_wait=told.append)
    ender.join()
    assert row.state == "in-effect"
    assert [rows[0].state for rows in told] == ["in-transition"]


def test_a_live_patch_that_vanishes_is_not_loaded(tmp_path: Path) -> None:
    place = tree(tmp_path, transition="1")
    ender = threading.Timer(0.3, shutil.rmtree, [place])
    ender.start()
    assert look(tmp_path, patience=20.0).state == "not-loaded"
    ender.join()


def test_a_transition_that_does_not_end(tmp_path: Path) -> None:
    tree(tmp_path, transition="1")
    began = time.monotonic()
    assert look(tmp_path, patience=0.4).state == "in-transition"
    assert 0.3 < time.monotonic() - began < 5


def test_no_tree_at_all(tmp_path: Path) -> None:
    assert look(tmp_path / "none").state == "unknown"
