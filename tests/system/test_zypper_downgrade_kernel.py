# SPDX-License-Identifier: GPL-2.0-or-later
"""``klp downgrade`` with real zypper, and what can go wrong with a transaction."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support.downgrades import (
    KERNEL,
    LIBRARY,
    NEWER,
    NOBODY_HAS,
    OLDER,
    RELEASE,
    answer,
    patches,
    version,
    zypper_as,
)
from tests.support.kernel_tree import write_patch
from tests.support.sandbox import Sandbox


@pytest.fixture
def kernel(fresh: Sandbox) -> Sandbox:
    """The kernel runs the live patch of version 4."""
    assert patches(fresh) == {NEWER: "1"}
    return fresh


def test_the_kernel_goes_back(kernel: Sandbox) -> None:
    done = kernel.run("klp", "-n", "downgrade")
    assert (version(kernel, KERNEL), patches(kernel)) == ("3", {OLDER: "1"})
    lines = done.output.splitlines()
    assert lines[0] == f"The kernel runs {NEWER}, version 4-{RELEASE} of its live patch"
    assert f"  zypper --non-interactive install --oldpackage {KERNEL}=3-{RELEASE}" in lines
    assert f"(1/1) Installing: {KERNEL}-3-{RELEASE}.noarch" in done.output
    assert lines[-1] == f"{OLDER} is in effect, {NEWER} is out of use."
    assert done.errors == ""


def test_the_kernel_goes_back_to_the_initial_live_patch_and_no_further(kernel: Sandbox) -> None:
    done = answer(kernel.run("klp", "downgrade", "-n", "--json", "--to", "1"))
    assert (done["state"], done["before"]) == ("done", NEWER)
    assert done["patches"] == [{"name": "livepatch_1_150600_2_1", "enabled": True, "transition": False}]
    assert done["notes"] == [f"1-{RELEASE} is the initial live patch, which fixes nothing"]
    refused = kernel.run("klp", "downgrade", "-n", check=False)
    assert refused.status == 2
    assert (
        refused.errors == "klp: livepatch_1_150600_2_1 is the initial live patch: there is none before it\n"
    )


def test_a_version_that_the_solver_does_not_take(kernel: Sandbox) -> None:
    done = kernel.run("klp", "downgrade", "-n", "--to", "2", check=False)
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith(
        f"klp: {KERNEL}-2-{RELEASE} cannot be installed: nothing provides {NOBODY_HAS} needed by {KERNEL}-2-"
    )
    assert version(kernel, KERNEL) == "4"


def test_while_a_transition_goes_on(kernel: Sandbox) -> None:
    kernel.write(f"/sys/kernel/livepatch/{NEWER}/transition", "1\n")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (75, "")
    assert done.errors.startswith(f"klp: {NEWER} is in transition: ")
    assert version(kernel, KERNEL) == "4"


TROUBLE = "WARNING: CPU: 0 PID: 1 at kernel/livepatch/core.c:1 klp_init+0x1/0x2"


@pytest.mark.parametrize(
    ("tainted", "log", "said"),
    [
        ("128", "", "it has crashed (oops) (taint flags D)"),
        ("640", "", "it has crashed (oops) and it has warned (taint flags DW)"),
        ("512", f"4,1,2,-;{TROUBLE}\n", f"it has warned (taint flags W); '{TROUBLE}'"),
        ("0", f"6,1,2,-;fine\n4,2,2,-;{TROUBLE}\n", f"its log has errors; '{TROUBLE}'"),
    ],
)
def test_a_kernel_in_trouble_is_left_alone(kernel: Sandbox, tainted: str, log: str, said: str) -> None:
    kernel.write("/run/tainted", f"{tainted}\n")
    kernel.write("/run/kmsg", log)
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert done.errors.splitlines()[0] == f"klp: the kernel is not in order: {said}"
    assert version(kernel, KERNEL) == "4"


def test_who_knows_the_trouble_may_go_on(kernel: Sandbox) -> None:
    kernel.write("/run/tainted", "512\n")
    done = kernel.run("klp", "downgrade", "-n", "--ignore-kernel-trouble")
    assert "Note the kernel is not in order: it has warned (taint flags W)" in " ".join(done.output.split())
    assert patches(kernel) == {OLDER: "1"}


def test_a_package_whose_live_patch_is_not_to_be_loaded(kernel: Sandbox) -> None:
    kernel.write("/etc/sysconfig/livepatching", "LIVEPATCH_KERNEL=never\n")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert "LIVEPATCH_KERNEL=never" in done.errors
    assert version(kernel, KERNEL) == "4"


def test_a_script_that_does_not_load_the_live_patch(kernel: Sandbox) -> None:
    kernel.write("/run/leave", "")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert done.status == 3
    assert done.errors == (
        f"klp: The state now: {KERNEL}-3-{RELEASE} is installed, but its module {OLDER} is not loaded: "
        f"the kernel runs {NEWER}\n"
        "hint: 'modprobe livepatch-3-150600-2-1' loads it\n"
    )
    # and what is installed is told apart from what runs
    again = kernel.run("klp", "downgrade", "-n", check=False)
    assert again.status == 2
    assert again.errors.startswith(f"klp: {KERNEL}-3-{RELEASE} is installed already\n")
    plan = answer(kernel.run("klp", "downgrade", "--dry-run", "--json", "--to", "1"))
    assert plan["packages"][0]["from"] == f"3-{RELEASE}"
    assert plan["notes"][0] == f"installed is 3-{RELEASE}, which the kernel does not run"


def test_a_script_that_fails(kernel: Sandbox) -> None:
    kernel.write("/run/fail", "")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert done.status == 3
    assert (
        f"The state now: {KERNEL}-3-{RELEASE} is installed" in done.errors
    )  # zypper may say that all is well
    assert f"the kernel runs {NEWER}" in done.errors
    assert version(kernel, KERNEL) == "3"


def test_a_transition_that_does_not_end(kernel: Sandbox) -> None:
    kernel.write("/run/stay", "")
    kernel.write("/etc/zypp-livepatch.conf", "[kernel]\ntransition = 0\n")
    document = answer(kernel.run("klp", "downgrade", "-n", "--json", check=False))
    assert document["state"] == "incomplete"
    assert f"{OLDER} still in transition after 0 s: " in document["sentence"]
    assert document["patches"] == [{"name": OLDER, "enabled": True, "transition": True}]


def test_control_c_while_zypper_is_at_work(kernel: Sandbox) -> None:
    kernel.write("/run/slow", "")
    command = subprocess.Popen(
        kernel.argv(["klp", "-n", "downgrade"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    assert command.stdout
    for line in command.stdout:
        if line.startswith("Checking for file conflicts"):
            break
    os.killpg(command.pid, signal.SIGINT)
    output, errors = command.communicate(timeout=120)
    assert "Traceback" not in errors
    there = version(kernel, KERNEL)
    assert (there, patches(kernel)) in [("4", {NEWER: "1"}), ("3", {OLDER: "1"})]
    if command.returncode == 0:
        assert output.endswith(f"{OLDER} is in effect, {NEWER} is out of use.\n")
    else:
        assert command.returncode == (1 if there == "4" else 3)
        assert (
            f"{there}-{RELEASE} of {KERNEL}" in errors
            or f"{KERNEL}-{there}-{RELEASE} is installed" in errors
        )


def test_a_half_done_transaction_is_told(kernel: Sandbox) -> None:
    """As when rpm was killed between the new version and the removal of the old one: both are installed."""
    with zypper_as(kernel, "rpm --install --force --nodeps /srv/repository/${4%%=*}-3-1*.rpm"):
        done = kernel.run("klp", "downgrade", "-n", check=False)
        assert done.status == 3
        assert done.errors.splitlines()[-2:] == [
            f"klp: The state now: {KERNEL}-3-{RELEASE} is installed, and {KERNEL}-4-{RELEASE} still is; "
            f"the kernel runs {OLDER}",
            f"hint: 'rpm --erase {KERNEL}-4-{RELEASE}' takes away what was left",
        ]
        done = kernel.run("ulp", "downgrade", "-n", check=False)
        assert done.status == 3
        words = f"ulp: The state now: {LIBRARY}-3-1 and {LIBRARY}-4-1 are installed"
        assert words in done.errors.splitlines()
    kernel.run("rpm", "--erase", f"{KERNEL}-4-{RELEASE}", f"{LIBRARY}-4-1")


def test_a_zypper_that_takes_the_package_away(kernel: Sandbox) -> None:
    with zypper_as(kernel, "rpm --erase ${4%%=*}; exit 8"):
        for command, name in (("klp", KERNEL), ("ulp", LIBRARY)):
            done = kernel.run(command, "downgrade", "-n", check=False)
            assert done.status == 3
            words = (
                "zypper ended with 8: an error while packages were installed or removed. The state now: no"
            )
            assert f"{command}: {words}" in done.errors
            assert kernel.run("rpm", "--query", name, check=False).status == 1


def test_a_kernel_without_live_patches(fresh: Sandbox) -> None:
    fresh.run("sh", "-c", "rm -r /sys/kernel/livepatch/*")
    done = fresh.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.errors) == (2, "klp: no live patch is in use\n")
    write_patch(fresh.root, "foreign")
    done = fresh.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.errors.splitlines()[0]) == (2, "klp: foreign belongs to no installed package")
