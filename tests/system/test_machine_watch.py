# SPDX-License-Identifier: GPL-2.0-or-later
"""The watcher's unit under real systemd on a real kernel, as real zypper has installed it, updates and removes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.support.machine import whole
from tests.support.machine.machine import Machine
from ulp.watch.presence import UNIT

OLD, NEW = 100, 200  # what the library's first function answers without and with the live patch


def test_enabled_updated_and_removed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with whole.booted(tmp_path_factory).running() as machine:
        assert machine.run("systemctl", "is-enabled", UNIT).output == "disabled\n"  # as the presets say
        assert machine.run("systemctl", "enable", "--now", UNIT).status == 0
        assert "0 live patches; 0 processes patched" in status(machine)
        confined(machine, main_pid(machine))

        before = machine.call("target")
        assert machine.call("answer", pid=before) == OLD
        # one commit brings a live patch, and a new version of all that is at work in it
        done = whole.install(machine, whole.USERSPACE, "zypp-livepatch")
        assert (done.status, done.errors) == (0, "")
        assert machine.call("answer", pid=before) == NEW
        assert machine.run("rpm", "--query", "zypp-livepatch").output == "zypp-livepatch-0.1.99-0.noarch\n"

        later = machine.call("target")
        until(machine, lambda: machine.call("answer", pid=later) == NEW)
        listed = json.loads(machine.run("ulp", "patches", "--json").output)["processes"]
        # by whom ever, but once
        assert {each["pid"]: len(each["patches"]) for each in listed} == {before: 1, later: 1}
        watcher = main_pid(machine)
        confined(machine, watcher)
        shown = status(machine)
        # the first one, too, if it was faster
        assert re.search(r"1 live patch; (1 process|2 processes) patched", shown)
        assert re.search(
            rf"ulp\[{watcher}\]: caller \({later}\): answers_livepatch1.so applied, \d+ ms", shown
        )
        assert machine.run("systemctl", "reload", UNIT).status == 0
        until(machine, lambda: status(machine).count("all processes were looked at: ") == 2)
        said = machine.run("ulp", "status").output
        assert f"{UNIT} runs (process {watcher}) and has patched " in said
        assert "2 of 2 processes run the newest live patch for libanswers.so.0." in said

        done = machine.run("zypper", "--non-interactive", "remove", "zypp-livepatch")
        assert (done.status, done.errors) == (0, "")
        assert machine.read(f"/proc/{watcher}/stat") is None
        # as an older systemd says it, and a newer one
        assert machine.run("systemctl", "is-enabled", UNIT).output in ("", "not-found\n")
        assert (
            machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "zypp-*").output == ""
        )
        names = ["-name", "*zypp-livepatch*", "-o", "-lname", "*zypp-livepatch*"]
        assert machine.run("find", "/etc", "/run", "/usr", "/var", *names).output == ""
        assert machine.call("answer", pid=later) == NEW
        machine.end()


def status(machine: Machine) -> str:
    """What systemctl shows of the unit, which runs."""
    done = machine.run("systemctl", "status", UNIT)
    assert done.status == 0, done
    return done.output


def main_pid(machine: Machine) -> int:
    """The watcher's process id."""
    return int(machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT).output)


def confined(machine: Machine, pid: int) -> None:
    """What the unit takes away is away: the watcher sees another, read-only root, and has three capabilities left."""
    status = dict(re.findall(r"(?m)^(\w+):\t(.*)$", machine.read(f"/proc/{pid}/status") or ""))
    needed = f"{1 << 1 | 1 << 2 | 1 << 19:016x}"
    assert {status[f"Cap{kind}"] for kind in ("Prm", "Eff", "Bnd")} == {needed}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    mounts = {
        line.split()[4]: line.split()[5].split(",")[0]
        for line in (machine.read(f"/proc/{pid}/mountinfo") or "").splitlines()
    }
    assert (mounts["/"], mounts["/run/zypp-livepatch"], mounts["/tmp"]) == ("ro", "rw", "rw")
    assert machine.call("names", path=f"/proc/{pid}/root/root") == []  # ProtectHome
    writable = [line for line in (machine.read(f"/proc/{pid}/maps") or "").splitlines() if " rwxp " in line]
    assert writable == []


def until(machine: Machine, condition: Callable[[], bool]) -> None:
    """Wait for what the watcher is to do."""
    for _ in range(100):
        if condition():
            return
        machine.call("sleep", seconds=0.2)
    raise AssertionError(status(machine))
