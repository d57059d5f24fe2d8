# SPDX-License-Identifier: GPL-2.0-or-later
"""klp on real kernels with real live patches: what it prints, and what the kernel did.

Each test goes on from a machine that has just booted. Its clock does not depend on how busy this machine is
(tests/support/machine/qemu.py), and its waits cost next to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.machine import generations, kernels, packages
from tests.support.machine.generations import (
    CUMULATIVE,
    INITIAL,
    LOWER,
    PAUSE,
    STAY,
    UPPER,
    VFORK,
)
from tests.support.machine.machine import Machine, Saved
from tests.support.machine.modules import Livepatch

SYSFS = "/sys/kernel/livepatch"
EDOM = 33  # what the replaced system calls answer

NOTHING_BLOCKS = "no threads with klp_in_progress set\n"


@pytest.fixture(scope="module", params=kernels.GENERATIONS, ids=lambda generation: generation.name)
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A kernel of each generation, with all live patches on disk and none loaded."""
    return generations.booted(request.param, tmp_path_factory)


class Patched(Machine):
    """A machine whose live patches go by their names."""

    def __init__(self, machine: Machine, saved: Saved) -> None:
        super().__init__(machine._running)
        self.kernel = saved.kernel

    def load(self, patch: Livepatch) -> str:
        """Load a live patch; returns the name of the error, "" without."""
        return str(self.call("load", path=packages.module_path(patch, self.kernel.release)))

    def switch(self, patch: Livepatch, file: str, value: int) -> str:
        """Write to a file of a live patch; returns the name of the error, "" without."""
        return str(self.call("write", path=f"{SYSFS}/{patch.name}/{file}", text=str(value)))

    def file(self, patch: Livepatch, file: str) -> str | None:
        """Read a file of a live patch."""
        return self.read(f"{SYSFS}/{patch.name}/{file}")

    def settled(self, patch: Livepatch) -> float:
        """Wait for the end of a transition; returns the seconds that it took."""
        return _seconds(self.call("wait_for", path=f"{SYSFS}/{patch.name}/transition", text="0\n"))

    def gone(self, patch: Livepatch) -> float:
        """Wait until the kernel has no such live patch; returns the seconds that it took."""
        return _seconds(self.call("wait_for", path=f"{SYSFS}/{patch.name}", text=None))

    def activate(self, patch: Livepatch) -> None:
        """Load a live patch that nothing blocks."""
        assert self.load(patch) == ""
        self.settled(patch)

    def loaded(self) -> set[str]:
        """Return the names of the kernel's modules."""
        return {line.split()[0] for line in (self.read("/proc/modules") or "").splitlines()}

    def state(self, pid: int) -> str | None:
        """Return where a process stands in a transition."""
        return self.read(f"/proc/{pid}/patch_state")

    def patches(self) -> list[dict[str, Any]]:
        """Return what klp tells programs."""
        listed: list[dict[str, Any]] = json.loads(self.klp("patches", "--json").output)["patches"]
        return listed

    def is_ready(self) -> bool:
        """Tell what klp says, in every way that it does."""
        said = (self.klp("status").output, self.klp("check").status, self.klp("-v", "blocking").output)
        assert said in (("ready\n", 0, NOTHING_BLOCKS), ("in_progress\n", 1, said[2])), said
        return said[1] == 0


def _seconds(answer: object) -> float:
    assert isinstance(answer, float), "it takes too long"
    return answer


@pytest.fixture
def machine(booted: Saved) -> Iterator[Patched]:
    """A machine that has just booted."""
    with booted.running() as running:
        yield Patched(running, booted)


def test_a_live_patch_in_effect(machine: Patched) -> None:
    assert machine.is_ready()
    assert machine.run("klp", "status") == (0, "ready\n", "")  # the program, too
    assert machine.klp("patches") == (0, "", "")
    machine.activate(INITIAL)
    assert machine.read("/proc/cmdline") == "one\n"
    assert machine.is_ready()
    assert machine.klp("patches") == (0, f"{INITIAL.name}\n", "")
    assert machine.klp("-v", "patches") == (
        0,
        f"{INITIAL.name}\n"
        "    active: 1\n"
        f"    RPM: {packages.label(INITIAL, machine.kernel)}\n"
        "    CVE: (none - this is an initial kernel live patch)\n"
        "    bug fixes and enhancements: (none)\n",
        "",
    )
    assert machine.klp("blocking") == (0, "", "")
    machine.end()


def test_a_live_patch_that_is_disabled(machine: Patched) -> None:
    before = machine.read("/proc/cmdline")
    machine.activate(INITIAL)
    assert machine.switch(INITIAL, "enabled", 1) == "EINVAL"
    assert machine.switch(INITIAL, "enabled", 0) == ""
    machine.gone(INITIAL)
    assert machine.read("/proc/cmdline") == before
    assert machine.is_ready()
    assert machine.klp("-v", "patches") == (0, "", "")
    assert machine.call("unload", name=INITIAL.name) == ""
    assert INITIAL.name not in machine.loaded()


def test_two_stacked(machine: Patched) -> None:
    machine.activate(LOWER)
    assert machine.read("/proc/cmdline") == "four\n"
    machine.activate(UPPER)
    assert machine.read("/proc/cmdline") == "three\n"
    order = [LOWER, UPPER]
    assert machine.klp("-v", "patches").output == "\n".join(
        f"{patch.name}\n    active: 1\n" for patch in order
    )
    for patch, listed in zip(order, machine.patches(), strict=True):
        assert listed["name"] == patch.name
        assert listed["stack_order"] == _number(machine.file(patch, "stack_order"))
    assert machine.switch(UPPER, "enabled", 0) == ""
    machine.gone(UPPER)
    assert machine.read("/proc/cmdline") == "four\n"
    assert machine.klp("patches").output == f"{LOWER.name}\n"


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def test_atomic_replace(machine: Patched) -> None:
    machine.activate(INITIAL)
    machine.activate(CUMULATIVE)
    assert machine.read("/proc/cmdline") == "two\n"
    assert {INITIAL.name, CUMULATIVE.name} <= machine.loaded()
    assert machine.call("names", path=SYSFS) == [CUMULATIVE.name]
    assert machine.klp("-v", "patches") == (
        0,
        f"{CUMULATIVE.name}\n"
        "    active: 1\n"
        f"    RPM: {packages.label(CUMULATIVE, machine.kernel)}\n"
        "    CVE: CVE-2024-53042\n"
        "    bug fixes and enhancements: bsc#1229275\n",
        "",
    )
    [listed] = machine.patches()
    told = machine.file(CUMULATIVE, "replace") is not None
    assert listed["replace"] == (True if told else None)
    absent, vmlinux = listed["objects"]
    functions = [{"name": "absent_function", "position": 2}]
    assert absent == {"name": "absent_module", "patched": False, "functions": functions}
    functions = [{"name": "cmdline_proc_show", "position": 1}]
    assert vmlinux == {"name": "vmlinux", "patched": True, "functions": functions}
    examined = machine.klp("doctor").output
    assert f"ok       {CUMULATIVE.name} is in effect\n" in examined
    assert f"note     {INITIAL.name} is loaded but not in use; that costs memory only\n" in examined
    assert f"         > rmmod {INITIAL.name}\n" in examined


def test_blocked_for_ever(machine: Patched) -> None:
    pid = machine.sleeper("vfork")
    assert machine.load(VFORK) == ""
    machine.call("sleep", seconds=60)
    assert (machine.file(VFORK, "transition"), machine.state(pid)) == ("1\n", "0\n")
    assert not machine.is_ready()
    assert machine.klp("blocking") == (0, f"{pid} {pid}\n", "")
    assert machine.klp("-v", "blocking") == (0, f"{pid} {pid} sleeper vfork\n", "")
    assert "vfork+0x" in machine.klp("-vv", "blocking").output
    assert machine.klp("-v", "patches").output == f"{VFORK.name}\n    active: 1\n"
    assert machine.load(INITIAL) == "EBUSY"
    [child] = (machine.read(f"/proc/{pid}/task/{pid}/children") or "").split()
    machine.call("kill", pid=int(child))
    machine.settled(VFORK)
    assert machine.is_ready()
    assert machine.tried("vfork") == EDOM


def test_what_a_user_may_not_see_is_not_denied(machine: Patched) -> None:
    pid = machine.sleeper("vfork")
    assert machine.load(VFORK) == ""
    status, output, errors = machine.klp("blocking", user=65534)
    assert (status, output) == (0, "")
    assert "threads may not be looked at; run klp as root" in errors
    assert machine.klp("status", user=65534).output == "in_progress\n"
    assert machine.state(pid) == "0\n"


def test_blocked_for_a_while(machine: Patched) -> None:
    pid = machine.sleeper("pause")
    path = packages.module_path(PAUSE, machine.kernel.release)
    told = {"patch": PAUSE.name, "cves": ["CVE-2024-53042"]}
    error, status, blocking, early, late = machine.every(
        ("load", {"path": path}),
        ("klp", {"words": ["status"]}),
        ("klp", {"words": ["-v", "blocking"]}),
        ("watched", {**told, "patience": 0}),
        ("watched", {**told, "patience": 60}),
    )
    assert error == ""
    assert status["output"] == "in_progress\n"
    assert blocking["output"] == f"{pid} {pid} sleeper pause\n"
    assert (early["state"], early["blocking"]) == ("in-transition", [f"sleeper ({pid})"])
    assert 5 < late["seconds"] < 30  # until the kernel interrupts it, as it does every 15 s
    assert late["sentence"] == (
        f"kernel live patch {PAUSE.name} is in effect after {late['seconds']:.1f} s "
        "and brings the fixes for CVE-2024-53042"
    )
    assert machine.is_ready()
    assert machine.tried("pause") == EDOM


def test_blocked_on_the_way_out(machine: Patched) -> None:
    machine.activate(STAY)
    pid = machine.sleeper("pause")
    assert machine.switch(STAY, "enabled", 0) == ""
    machine.call("sleep", seconds=60)
    assert (machine.file(STAY, "transition"), machine.state(pid)) == ("1\n", "1\n")
    assert not machine.is_ready()
    assert machine.klp("-v", "patches").output == f"{STAY.name}\n    active: 0\n"
    assert machine.klp("-v", "blocking").output == f"{pid} {pid} sleeper pause\n"
    assert f"live_pause+0x24/0x42 [{STAY.name}]"[:12] in machine.klp("-vv", "blocking").output
    machine.call("kill", pid=pid)
    machine.gone(STAY)
    assert machine.is_ready()
    assert machine.klp("patches").output == ""
    assert machine.call("unload", name=STAY.name) == ""


def test_reversed(machine: Patched) -> None:
    pid = machine.sleeper("vfork")
    assert machine.load(VFORK) == ""
    assert machine.switch(VFORK, "enabled", 0) == ""
    machine.gone(VFORK)
    assert machine.is_ready()
    assert machine.klp("patches").output == ""
    assert machine.state(pid) == "-1\n"
    assert machine.tried("vfork") == 0
    assert machine.call("unload", name=VFORK.name) == ""


def test_reversed_on_the_way_out(machine: Patched) -> None:
    machine.activate(STAY)
    pid = machine.sleeper("pause")
    assert machine.switch(STAY, "enabled", 0) == ""
    assert not machine.is_ready()
    assert machine.switch(STAY, "enabled", 1) == ""
    machine.settled(STAY)
    assert machine.is_ready()
    assert machine.klp("-v", "patches").output == f"{STAY.name}\n    active: 1\n"
    assert machine.state(pid) == "-1\n"


def test_forced(machine: Patched) -> None:
    pid = machine.sleeper("vfork")
    assert machine.load(VFORK) == ""
    assert machine.switch(VFORK, "force", 1) == ""
    machine.settled(VFORK)
    assert machine.is_ready()
    assert machine.klp("-v", "patches").output == f"{VFORK.name}\n    active: 1\n"
    assert machine.tried("vfork") == EDOM
    assert machine.state(pid) == "-1\n"  # in the old function, still


def test_forced_on_the_way_out(machine: Patched) -> None:
    machine.activate(STAY)
    pid = machine.sleeper("pause")
    assert machine.switch(STAY, "enabled", 0) == ""
    assert machine.switch(STAY, "force", 1) == ""
    machine.gone(STAY)
    assert machine.is_ready()
    assert machine.klp("patches").output == ""
    machine.call("kill", pid=pid)
    assert machine.call("unload", name=STAY.name) == "EAGAIN"  # what is forced stays until the next boot
    assert f"note     {STAY.name} was forced out of use: " in machine.klp("doctor").output
    assert STAY.name in machine.loaded()
