# SPDX-License-Identifier: GPL-2.0-or-later
"""How the worker is started: as a transient unit where systemd has booted, by a double fork elsewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.booted import NotBooted, booted
from tests.support.commits import busy_worker, report, reports, until
from tests.support.sandbox import Sandbox, sandbox

SYSTEMD_RUN = "usr/bin/systemd-run"
PACKAGE = "empty-livepatches"


@pytest.fixture
def machine() -> Iterator[Sandbox]:
    """A sandbox without systemd, with a package that gives the worker little to do."""
    with sandbox() as made:
        made.add_packages(rpms.Spec(name=PACKAGE))
        yield made


def cgroup_of_worker(machine: Sandbox, inside: Sandbox) -> str:
    """Which cgroup the worker of a commit is in."""
    machine.write("etc/zypp-livepatch.conf.d/wait.conf", "[plugin]\nwait = 0\n")
    with busy_worker(inside):
        inside.zypper("install", PACKAGE)
        until(lambda: bool(reports(inside)), "a report")
        pid = int(report(inside, finished=False)["worker"]["pid"])
        found = inside.run("cat", f"/proc/{pid}/cgroup").output
    assert report(inside)["state"] == "done"
    return found


def test_with_real_systemd_the_worker_is_a_unit(machine: Sandbox) -> None:
    try:
        with booted(machine) as inside:
            assert re.search(
                r"/system\.slice/zypp-livepatch-[\d-]+\.service", cgroup_of_worker(machine, inside)
            )
            units = "systemctl", "list-units", "--all", "--plain", "--no-legend", "zypp-livepatch-*"
            until(
                lambda: inside.run(*units).output == "", "the unit's end"
            )  # and it leaves nothing to clean up
    except NotBooted as error:
        pytest.skip(str(error))


def test_without_systemd_it_is_none(machine: Sandbox) -> None:
    machine.write(SYSTEMD_RUN, "#!/bin/sh\ntouch /called\n", mode=0o755)
    assert "zypp-livepatch" not in cgroup_of_worker(machine, machine)
    assert not (machine.root / "called").exists()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no bus >&2; exit 1", "systemd-run failed with status 1: no bus"),
        ("exec sleep 60", "TimeoutExpired"),
    ],
)
def test_a_systemd_that_does_not_answer(machine: Sandbox, script: str, says: str) -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)  # sd_booted(3)
    machine.write(SYSTEMD_RUN, f"#!/bin/sh\n{script}\n", mode=0o755)
    machine.zypper("install", PACKAGE)
    assert report(machine)["state"] == "done"
    assert says in machine.log()
    assert "the worker was started without systemd" in machine.log()


def test_a_worker_that_cannot_be_started(machine: Sandbox, tmp_path: Path) -> None:
    from tests.support.commits import at_terminal, line_of

    plugin = machine.root / "usr/lib/zypp/plugins/commit/zypp-livepatch-commit"
    real = subprocess.run(["readlink", plugin], capture_output=True, text=True, check=True).stdout.strip()
    plugin.unlink()
    start = f"import runpy, sys\nsys.executable = '/no/such/python'\nrunpy.run_path('{real}', run_name='__main__')\n"
    interpreter = Path(real).with_name("python3")
    machine.write(str(plugin.relative_to(machine.root)), f"#!{interpreter}\n{start}", mode=0o755)
    shown = at_terminal(machine, "install", PACKAGE)
    assert shown.status == 0
    assert "no process was patched, the worker cannot be started: No such file or directory" in line_of(
        shown.output
    )
