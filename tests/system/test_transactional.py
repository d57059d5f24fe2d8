# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches that land in a snapshot, on a real read-only btrfs root, by real zypper -R."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from host.errors import Error
from tests.support.commits import (
    FIRST,
    LIBRARY,
    PACKAGE,
    SECOND,
    packages,
    report,
    reports,
    target,
    until,
)
from tests.support.sandbox import PROJECT
from tests.support.snapshots import TUKIT, Transactional, transactional
from tests.support.targets import answers_library, caller, running
from ulp.watch.births import Births


@pytest.fixture(scope="module")
def machine() -> Iterator[Transactional]:
    """A transactional system with two versions of a live patch package in its repository."""
    with transactional() as made:
        made.add_packages(*packages())
        yield made


def test_the_root_is_as_it_should_be(machine: Transactional) -> None:
    assert machine.run("touch", "/usr/x", check=False).errors.endswith("Read-only file system\n")
    assert machine.run("touch", "/etc/x", check=False).errors.endswith("Read-only file system\n")
    assert machine.run("findmnt", "--noheadings", "--output", "FSTYPE", "/").output == "btrfs\n"


def update(machine: Transactional, *words: str) -> tuple[int, dict[str, Any]]:
    """Make a snapshot, let zypper change it and return its number and the one report there is about that.

    It comes from the commit plugin or, with an older libzypp, from tukit's plugin, which does not wait for it.
    """
    before = len(reports(machine))
    number = machine.snapshot()
    machine.update(number, *words)
    root = f"/.snapshots/{number}/snapshot"

    def finished() -> list[dict[str, Any]]:
        return [each for each in reports(machine) if each["root"] == root and each["finished"] is not None]

    until(lambda: bool(finished()), "a report")
    [found] = finished()
    assert (len(reports(machine)), found["state"]) == (before + 1, "done")
    machine.close(number)
    return number, found


def test_what_runs_is_patched_from_the_snapshot_once(machine: Transactional) -> None:
    with target() as process:
        number, found = update(machine, "install", f"{PACKAGE}=1")
        assert process.answers()[0] == FIRST
        [row] = [row for row in found["processes"] if row["pid"] == process.pid]
        assert row["container"].startswith(f"/.snapshots/{number}/snapshot/usr/lib64/{PACKAGE}/")
        assert row["engine"] == "direct"
        assert not (machine.root / "usr/lib64" / PACKAGE).exists()
        assert machine.run("zypper", "livepatch", "report").output.count("still load the old library") == 1

        # the next update goes on from what runs, not from the last one
        _, found = update(machine, "install", f"{PACKAGE}=2")
        assert (found["packages"][0]["action"], process.answers()[0]) == ("installed", SECOND)


def test_programs_that_start_before_the_reboot(machine: Transactional) -> None:
    try:
        Births()
    except Error as error:
        pytest.skip(error.sentence)
    update(machine, "install", f"{PACKAGE}=1")
    watch = subprocess.Popen(machine.argv(["ulp", "watch", "--json"]), stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout
        with target() as process:
            for line in watch.stdout:
                if json.loads(line)["pid"] == process.pid:
                    break
            assert process.answers()[0] == FIRST
    finally:
        watch.terminate()
        watch.communicate()


def test_a_snapshot_that_is_given_up(machine: Transactional) -> None:
    """It is deleted between the commit and the worker's look: that is said, and nothing is patched."""
    from zypp_plugin.job import Job, PackageStep
    from zypp_plugin.transaction import USERSPACE

    step = PackageStep(name=PACKAGE, kind=USERSPACE, action="+", stage="ok", evr="1-1")
    job = Job(root="/.snapshots/99/snapshot", zypper=0, steps=(step,))
    done = subprocess.run(
        machine.argv([sys.executable, "-m", "zypp_plugin.worker"]),
        input=job.encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert "the snapshot /.snapshots/99/snapshot is gone" in report(machine)["summary"]


def test_tukits_other_stages_change_nothing(machine: Transactional) -> None:
    for words in (
        [],
        ["init-pre"],
        ["callExt-pre", "/x", "not a number", "zypper"],
        ["callExt-post", "/x", "98", "zypper"],
    ):
        done = machine.run(TUKIT, *words)
        assert (done.status, done.output, done.errors) == (0, "", "")


def test_a_shell_in_an_update() -> None:
    """transactional-update shell: zypper's root is the snapshot, the machine is outside, and so is the report."""
    with transactional(private=True) as machine:
        machine.add_packages(*packages())
        with running(
            caller(answers_library(name=LIBRARY)), wrapper=tuple(machine.argv([])), inner=True
        ) as process:
            number = machine.snapshot()
            root = f"/.snapshots/{number}/snapshot"
            script = f"""
set -e
cd {root}
mount -t overlay overlay -o lowerdir=/usr,upperdir={root}/usr,workdir={root}/.work usr
mount --rbind /proc proc; mount --rbind /dev dev; mount --rbind /sys sys; mount -t tmpfs run run
mount --bind /var var; mount --bind /srv/repository srv/repository
for each in "$@"; do mkdir -p ".$each"; mount --bind "$each" ".$each"; done
export TRANSACTIONAL_UPDATE=true TRANSACTIONAL_UPDATE_ROOT={root}
exec chroot . zypper --non-interactive install {PACKAGE}=1
"""
            machine.run("unshare", "--mount", "sh", "-c", script, "sh", PROJECT, sys.prefix)
            found = report(machine)
            assert (found["root"], found["state"]) == (root, "done")
            assert process.answers()[0] == FIRST
