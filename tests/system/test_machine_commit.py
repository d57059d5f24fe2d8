# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patches in commits of real zypper on a real kernel: packages that load real modules, our own package.

What the plugin and the worker make of everything else that a kernel can show is in test_zypper_kernel.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.commits import line_of
from tests.support.machine import whole
from tests.support.machine.machine import Machine
from tests.support.machine.whole import FOUR, KERNEL, ONE, OTHER, THREE, TWO

REPORTS = "/var/lib/zypp-livepatch/reports"


def test_kernel_live_patches(tmp_path_factory: pytest.TempPathFactory) -> None:
    saved = whole.booted(tmp_path_factory)
    with saved.running() as machine:
        # the first one, together with one for another kernel
        line = commit(machine, f"{KERNEL}=1", whole.OTHER_KERNEL)
        assert f"kernel live patch {ONE.name} is in effect after 0." in line
        assert line.endswith(
            f"kernel live patch {ONE.name} is for the next boot: it is made for the kernel {OTHER}, "
            f"and {saved.kernel.release} runs"
        )
        [report] = reports(machine)
        states = {row["package"]: (row["state"], row["cves"]) for row in report["kernel"]}
        assert states == {KERNEL: ("in-effect", []), whole.OTHER_KERNEL: ("other-kernel", [])}
        assert machine.read("/proc/cmdline") == "1\n"

        # one that a process is in the way of
        pid = machine.sleeper("vfork")
        line = commit(machine, f"{KERNEL}=2")
        waits = f"kernel live patch {TWO.name} is in transition and waits for sleeper ({pid}); 'klp blocking -vv'"
        assert waits in line
        shown = machine.run("zypper", "livepatch", "report")
        assert shown.status == 1
        assert "user space is done, the kernel is in transition" in shown.output
        assert f"\nKernel: {waits} says more\n  CVE-2025-0002\n" in shown.output
        assert reports(machine)[-1]["state"] == "settling"

        # one that the kernel does not take meanwhile: its package's script fails, zypper does not
        line = commit(machine, f"{KERNEL}=3", says="Device or resource busy")
        assert f"kernel live patch {THREE.name} is installed but not loaded; 'klp doctor'" in line
        [row] = reports(machine)[-1]["kernel"]
        assert (row["state"], row["cves"]) == ("not-loaded", ["CVE-2025-0003"])

        # the end of the transition, and of the worker that has waited for it
        [child] = (machine.read(f"/proc/{pid}/task/{pid}/children") or "").split()
        machine.call("kill", pid=int(child))
        report = finished(machine, -2)
        [row] = report["kernel"]
        assert (row["patch"], row["state"], row["cves"]) == (TWO.name, "in-effect", ["CVE-2025-0002"])
        assert row["seconds"] > 1
        journal = machine.run("journalctl", "--no-pager", "--identifier", "zypp-livepatch").output
        assert f"{TWO.name} is in effect after {row['seconds']:.1f} s" in journal
        units = "systemctl", "list-units", "--all", "--plain", "--no-legend", "zypp-livepatch-*"
        assert machine.run(*units).output == ""  # the workers' units have gone with them

        # one that replaces it, together with a live patch for a library
        process = machine.call("target")
        line = commit(machine, f"{KERNEL}=4", whole.USERSPACE)
        assert "the only process that uses libanswers.so.0 runs the fixed functions; " in line
        assert f"{FOUR.name} is in effect after 0." in line
        assert line.endswith(" s and brings the fixes for CVE-2025-0004")
        report = reports(machine)[-1]
        [row] = report["kernel"]
        assert (row["state"], row["cves"], row["blocking"]) == ("in-effect", ["CVE-2025-0004"], [])
        assert 0 <= row["seconds"] < 1
        assert [(each["pid"], each["outcome"]) for each in report["processes"]] == [(process, "SUCCESS")]
        assert machine.call("answer", pid=process) == 200
        assert machine.read("/proc/cmdline") == "4\n"
        machine.end()


def commit(machine: Machine, *words: str, says: str = "") -> str:
    """Install packages at a terminal; returns the line of ours there."""
    command = " ".join(("exec zypper --non-interactive install", *words))
    done = machine.run("script", "--quiet", "--return", "--command", command, "/dev/null")
    assert done.status == 0, done
    assert says in done.output
    line = line_of(done.output)
    assert line, done.output
    return line


def reports(machine: Machine) -> list[dict[str, Any]]:
    """All reports, the oldest first."""
    names = [name for name in machine.call("names", path=REPORTS) if name.startswith("2")]
    return [json.loads(machine.read(f"{REPORTS}/{name}") or "") for name in names]


def finished(machine: Machine, index: int) -> dict[str, Any]:
    """One of the reports, once it is finished."""
    for _ in range(100):
        report = reports(machine)[index]
        if report["finished"] is not None:
            return report
        machine.call("sleep", seconds=0.5)
    raise AssertionError(report)
