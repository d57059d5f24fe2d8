# SPDX-License-Identifier: GPL-2.0-or-later
"""klp downgrade on a real kernel: real zypper, real packages, live patches that really are loaded.

What zypper and klp make of everything else that can happen is in test_zypper_downgrade_kernel.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.machine import packages, whole
from tests.support.machine.machine import Machine
from tests.support.machine.whole import FOUR, ONE, THREE, TWO

SYSFS = "/sys/kernel/livepatch"


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine has run version 3 and runs 4 now, which is installed; zypper has all of them."""
    saved = whole.booted(tmp_path_factory)
    with saved.running() as running:
        running.run("sh", "-c", "printf '[kernel]\\ntransition = 3\\n' > /etc/zypp-livepatch.conf")
        for patch in (THREE, FOUR):
            assert running.call("load", path=packages.module_path(patch, saved.kernel.release)) == ""
            assert running.call("wait_for", path=f"{SYSFS}/{patch.name}/transition", text="0\n") is not None
        yield running


def in_effect(machine: Machine) -> tuple[list[str], str | None]:
    """What the kernel says: the live patches that it has, and a file that each of them answers for."""
    names = machine.call("names", path=SYSFS)
    assert [machine.read(f"{SYSFS}/{name}/enabled") for name in names] == ["1\n"] * len(names)
    return names, machine.read("/proc/cmdline")


def test_back_to_the_first_one(machine: Machine) -> None:
    name = packages.name((machine.read("/proc/sys/kernel/osrelease") or "").strip())
    assert in_effect(machine) == ([FOUR.name], "4\n")

    done = machine.klp("-n", "downgrade")
    assert (done.status, done.errors) == (0, "")
    assert (
        f"  rmmod {THREE.name}\n  zypper --non-interactive install --oldpackage {name}=3-{THREE.release}\n"
        in done.output
    )
    assert f"(1/1) Installing: {name}-3-{THREE.release}.noarch" in done.output
    assert done.output.endswith(f"\n{THREE.name} is in effect, {FOUR.name} is out of use.\n")
    assert in_effect(machine) == ([THREE.name], "3\n")

    pid = machine.sleeper("vfork")  # inside of a function that version 2 replaces
    done = machine.klp("downgrade", "-n")
    assert done.status == 3
    assert done.errors == (
        f"klp: The state now: {name}-2-{TWO.release} is installed and {TWO.name} still in transition after 3 s: "
        f"it waits for sleeper ({pid})\n"
        "hint: 'klp wait' waits on, 'klp blocking -vv' says what helps\n"
    )
    assert machine.klp("downgrade", "-n").status == 75
    [child] = (machine.read(f"/proc/{pid}/task/{pid}/children") or "").split()
    machine.call("kill", pid=int(child))
    assert machine.klp("wait").status == 0
    assert in_effect(machine) == ([TWO.name], "2\n")

    document = json.loads(machine.klp("downgrade", "-n", "--json").output)
    assert (document["state"], document["before"]) == ("done", TWO.name)
    assert document["patches"] == [{"name": ONE.name, "enabled": True, "transition": False}]
    assert in_effect(machine) == ([ONE.name], "1\n")

    done = machine.klp("downgrade", "-n")
    assert done == (2, "", f"klp: {ONE.name} is the initial live patch: there is none before it\n")
    assert in_effect(machine) == ([ONE.name], "1\n")
