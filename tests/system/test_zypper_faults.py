# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever goes wrong around a commit: zypper does not notice, and a report says so."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.commits import (
    FIRST,
    OLD,
    PACKAGE,
    SECOND,
    at_terminal,
    busy_worker,
    containers,
    line_of,
    names,
    packages,
    report,
    reports,
    target,
    until,
)
from tests.support.sandbox import REPORTS, Sandbox, sandbox

FULL = (
    "mount -t tmpfs -o size=64k full {0} && mkdir -p {0}/reports && "
    "dd if=/dev/zero of={0}/fill bs=4k 2>/dev/null; true"
)


@pytest.fixture
def machine() -> Iterator[Sandbox]:
    """A sandbox with two versions of a live patch package in its repository."""
    with sandbox() as made:
        made.add_packages(*packages())
        yield made


def configure(machine: Sandbox, text: str) -> None:
    machine.write("etc/zypp-livepatch.conf.d/test.conf", text)


def worker_pid(machine: Sandbox) -> int:
    """The pid of the worker of the last commit, which has begun its report."""
    until(lambda: bool(reports(machine)), "a report")
    return int(report(machine, finished=False)["worker"]["pid"])


def plugin_pid(zypper: int) -> int:
    """The pid of the plugin that a zypper runs."""
    found = [0]

    def there() -> bool:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                parent = re.search(r"^PPid:\t(\d+)", (path / "status").read_text(), re.MULTILINE)
            except OSError:
                continue
            if (
                parent
                and int(parent[1]) == zypper
                and any(b"zypp-livepatch-commit" in word for word in words)
            ):
                found[0] = int(path.name)
        return found[0] != 0

    until(there, "the plugin's process")
    return found[0]


@contextmanager
def zypper_running(machine: Sandbox, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A zypper in the background; its pid is that of the process."""
    process = subprocess.Popen(
        machine.argv(["zypper", "--non-interactive", *words]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_that_takes_longer_than_zypper_waits(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 1\n")
    with target() as process:
        with busy_worker(machine):
            began = time.monotonic()
            shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
            assert 1 <= time.monotonic() - began < 10
            assert "goes on in the background" in line_of(shown)
            assert process.answers()[0] == OLD
            assert report(machine, finished=False)["state"] == "waiting"
            waits = machine.run("zypper", "livepatch", "report", check=False)
            assert (waits.status, "waits for the work of an earlier commit" in waits.output) == (1, True)
        assert report(machine)["state"] == "done"
        assert process.answers()[0] == FIRST


def test_no_wait_at_all(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with target() as process:
        with busy_worker(machine):
            machine.zypper("install", f"{PACKAGE}=1")
        assert report(machine)["state"] == "done"
        assert process.answers()[0] == FIRST


def test_the_worker_is_on_its_own(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with busy_worker(machine):
        at_terminal(machine, "install", f"{PACKAGE}=1")
        pid = worker_pid(machine)
        session, terminal = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3:5]
        assert (int(session) != pid, int(terminal)) == (True, 0)
        until(lambda: not Path(f"/proc/{session}").exists(), "the end of the first fork")
        assert [name for name in names(pid) if name.startswith("pipe:")] == []
        assert all(name.endswith("/dev/null") for name in names(pid)[1:3])
        assert Path(f"/proc/{pid}/cwd").samefile(machine.root)
        ignored = re.search(r"^SigIgn:\t(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert ignored and not int(ignored[1], 16) & 1 << (signal.SIGINT - 1)
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert {item.partition(b"=")[0] for item in environment if item} <= {
            b"LANG", b"PATH", b"PYTHONPATH", b"PYTHONDONTWRITEBYTECODE", b"LC_CTYPE",
        }  # fmt: skip
    report(machine)


def test_the_plugin_is_killed_while_it_waits(machine: Sandbox) -> None:
    with target() as process:
        with busy_worker(machine), zypper_running(machine, "install", f"{PACKAGE}=1") as zypper:
            worker_pid(machine)
            os.kill(plugin_pid(zypper.pid), signal.SIGKILL)
            output, _ = zypper.communicate(timeout=60)
            assert zypper.returncode == 0, output
        assert report(machine)["state"] == "done"
        assert process.answers()[0] == FIRST


def test_zypper_is_killed_while_the_plugin_waits(machine: Sandbox) -> None:
    with target() as process:
        with busy_worker(machine), zypper_running(machine, "install", f"{PACKAGE}=1") as zypper:
            worker_pid(machine)
            plugin = plugin_pid(zypper.pid)
            zypper.kill()
            zypper.wait()
            until(lambda: not Path(f"/proc/{plugin}").exists(), "the plugin's end")
        assert report(machine)["state"] == "done"
        assert process.answers()[0] == FIRST


def test_the_worker_is_killed(machine: Sandbox) -> None:
    with target() as process, busy_worker(machine):
        killer = threading.Thread(target=lambda: os.kill(worker_pid(machine), signal.SIGKILL))
        killer.start()
        began = time.monotonic()
        shown = at_terminal(machine, "install", f"{PACKAGE}=1")
        killer.join()
        assert time.monotonic() - began < 15  # the end of the worker is seen at once
        assert shown.status == 0
        assert "the worker was ended before it was done" in line_of(shown.output)
        assert process.answers()[0] == OLD
    said = machine.run("zypper", "livepatch", "report", check=False)
    assert said.status == 1
    assert "interrupted, the worker was ended before it was done" in said.output
    with target() as process:
        machine.zypper("install", "--force", f"{PACKAGE}=1")
        assert report(machine)["packages"][0]["action"] == "reinstalled"
        assert process.answers()[0] == FIRST


def test_two_commits_while_the_first_ones_worker_is_at_work(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with target() as process:
        with busy_worker(machine):
            machine.zypper("install", f"{PACKAGE}=1")
            machine.zypper("install", f"{PACKAGE}=2")
        until(lambda: all(each["finished"] for each in reports(machine)), "both reports")
        first, second = reports(machine)
        assert "1-1 has been replaced by 2-1 since" in first["packages"][0]["notes"][0]
        assert second["packages"][0]["action"] == "updated"
        assert {first["state"], second["state"]} == {"done"}
        assert process.answers()[0] == SECOND


def test_the_package_is_gone_when_the_worker_looks(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with target() as process:
        with busy_worker(machine):
            machine.zypper("install", f"{PACKAGE}=1")
            machine.run("rpm", "--erase", PACKAGE)
        assert "has been removed since" in report(machine)["packages"][0]["notes"][0]
        assert process.answers()[0] == OLD


def test_processes_that_root_may_not_look_at(machine: Sandbox) -> None:
    """Root without a capability that all others have: the report says how many it missed, which, and why."""
    with target() as process:
        words = [
            "setpriv",
            "--bounding-set=-sys_ptrace",
            "zypper",
            "--non-interactive",
            "install",
            f"{PACKAGE}=1",
        ]
        machine.run(*words)
        written = report(machine)
        assert (written["processes"], process.answers()[0]) == ([], OLD)
        [note] = written["notes"]
        assert note.startswith(
            f"{written['unseen']} processes could not be looked at, this root lacks CAP_SYS_PTRACE: "
        )
        assert note in machine.run("zypper", "livepatch", "report", check=False).output


def test_a_container_that_was_changed_on_disk_is_refused(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with target() as process:
        with busy_worker(machine):
            machine.zypper("install", f"{PACKAGE}=1")
            file = next((machine.root / f"usr/lib64/{PACKAGE}/1").iterdir())
            file.write_bytes(file.read_bytes() + b"x")
        [container] = report(machine)["packages"][0]["containers"]
        assert container["use"] == "refused"
        assert "is not what its package put there" in container["why"]
        assert process.answers()[0] == OLD


def test_an_rpm_database_that_cannot_be_read(machine: Sandbox) -> None:
    configure(machine, "[plugin]\nwait = 0\n")
    with target() as process:
        with busy_worker(machine):
            machine.zypper("install", f"{PACKAGE}=1")
            for file in (machine.root / "var/lib/rpm").iterdir():
                file.write_bytes(b"garbage" * 1000)
        written = report(machine)
        assert written["state"] == "failed"
        assert "the rpm database in /var/lib/rpm cannot be read" in written["problems"][0]
        assert process.answers()[0] == OLD
    said = machine.run("zypper", "livepatch", "report", check=False)
    assert (said.status, "no process was patched: the rpm database" in said.output) == (1, True)


def test_a_full_disk_under_the_reports(machine: Sandbox) -> None:
    (machine.root / "var/lib/zypp-livepatch").mkdir()
    machine.run("sh", "-c", FULL.format("/var/lib/zypp-livepatch"))
    with target() as process:
        line = line_of(at_terminal(machine, "install", f"{PACKAGE}=1").output)
        assert "all" in line or "the only process" in line
        assert "cannot be written to /var/lib/zypp-livepatch/reports: No space left on device" in line
        assert process.answers()[0] == FIRST
        assert list((machine.root / REPORTS).iterdir()) == []  # no draft is left behind
        said = machine.run("zypper", "livepatch", "report")
        assert "/run/zypp-livepatch/reports/" in said.output


def test_no_room_anywhere_for_a_report(machine: Sandbox) -> None:
    for place in ("var/lib/zypp-livepatch", "run/zypp-livepatch"):
        (machine.root / place).mkdir()
    (machine.root / "run/zypp-livepatch/lock").touch()
    for place in ("/var/lib/zypp-livepatch", "/run/zypp-livepatch"):
        machine.run("sh", "-c", FULL.format(place))
    machine.run("touch", "/run/zypp-livepatch/lock", check=False)
    with target() as process:
        shown = at_terminal(machine, "install", f"{PACKAGE}=1")
        assert shown.status == 0
        assert "cannot be written" in line_of(shown.output)
        assert process.answers()[0] in (FIRST, OLD)


@pytest.mark.parametrize("what", ["text", "truncated", "other section", "empty", "directory loop"])
def test_packages_with_broken_or_hostile_contents(machine: Sandbox, tmp_path: Path, what: str) -> None:
    [good] = containers(count=1)
    bad = tmp_path / "evil_livepatch9.so"
    image = good.read_bytes()
    if what == "text":
        bad.write_text("#!/bin/sh\necho owned\n")
    elif what == "truncated":
        bad.write_bytes(image[: len(image) // 2])
    elif what == "other section":
        bad.write_bytes(image.replace(b"\0.ulp\0", b"\0.ulq\0"))
    elif what == "empty":
        bad.touch()
    else:
        bad.write_bytes(b"\x7fELF\x02\x01\x01" + b"\xff" * 200)
    machine.add_packages(rpms.livepatch_spec("mixed-livepatches", [good, bad]))
    with target() as process:
        shown = at_terminal(machine, "install", "mixed-livepatches")
        assert shown.status == 0
        used = {
            Path(each["path"]).name: each["use"] for each in report(machine)["packages"][0]["containers"]
        }
        assert used == {good.name: "applied", bad.name: "refused"}
        assert process.answers()[0] == FIRST  # what is sound in it is applied
        assert "mixed-livepatches 1-1 has a container that is not applied" in line_of(shown.output)


def test_a_live_patch_package_without_a_live_patch(machine: Sandbox) -> None:
    machine.add_packages(rpms.Spec(name="empty-livepatches"))
    line = line_of(at_terminal(machine, "install", "empty-livepatches").output)
    assert "empty-livepatches 1-1 contains no live patch" in line


def test_a_package_whose_installation_fails(machine: Sandbox) -> None:
    machine.add_packages(
        rpms.livepatch_spec(
            PACKAGE, containers(count=1), version="3", scripts={"pre -p <lua>": "error('no')"}
        )
    )
    with target() as process:
        done = machine.zypper("install", f"{PACKAGE}=3", check=False)
        assert done.status != 0
        assert process.answers()[0] == OLD
    for written in reports(machine):  # libzypp may tell of the step or not
        assert written["packages"][0]["action"] == "failed"


def test_ctrl_c_lets_go_of_the_wait(machine: Sandbox) -> None:
    with target() as process:
        with busy_worker(machine), zypper_running(machine, "install", f"{PACKAGE}=1") as zypper:
            worker_pid(machine)
            plugin = plugin_pid(zypper.pid)
            until(
                lambda: "SigCgt:\t0000000000000002" in Path(f"/proc/{plugin}/status").read_text(), "the wait"
            )
            began = time.monotonic()
            os.kill(plugin, signal.SIGINT)
            zypper.communicate(timeout=60)
            assert time.monotonic() - began < 5
            assert zypper.returncode == 0
        assert report(machine)["state"] == "done"
        assert process.answers()[0] == FIRST


def test_a_report_that_was_tampered_with(machine: Sandbox) -> None:
    machine.zypper("install", f"{PACKAGE}=1")
    [file] = (machine.root / REPORTS).glob("2*.json")
    fields = json.loads(file.read_text())
    fields["processes"] = "none"
    file.write_text(json.dumps(fields))
    said = machine.run("zypper", "livepatch", "report", check=False)
    assert said.status == 65
    assert "is not a report" in said.errors
    assert "Traceback" not in said.errors
