# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp downgrade`` and ``klp downgrade`` on a transactional system: the next boot's snapshot is changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import commits, downgrades
from tests.support.downgrades import KERNEL, LIBRARY, NEWER, RELEASE, answer, patched, patches, version
from tests.support.snapshots import Transactional, transactional
from tests.support.targets import Target
from tests.support.users import NOBODY, ordinary_user

UPDATE = ("transactional-update", "--non-interactive", "--continue", "pkg")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transactional]:
    with transactional() as made:
        downgrades.furnish(made, tmp_path_factory.mktemp("module"))
        made.run("btrfs", "property", "set", "-ts", "/", "ro", "false")
        downgrades.install(made)
        made.run("btrfs", "property", "set", "-ts", "/", "ro", "true")
        yield made


@pytest.fixture
def system(machine: Transactional) -> Transactional:
    """Version 4 of both packages runs, and the next boot would start just that."""
    machine.run("btrfs", "subvolume", "set-default", "/")
    return machine


@pytest.fixture
def process(system: Transactional) -> Iterator[Target]:
    """A process that runs with the live patches of version 4."""
    with commits.target() as made:
        patched(system, made)
        yield made


def test_the_older_packages_wait_for_the_next_boot(system: Transactional, process: Target) -> None:
    done = system.run("klp", "-n", "downgrade")
    first = system.next_boot()
    assert first != 1
    assert f"\n  {' '.join(UPDATE)} install --oldpackage {KERNEL}=3-{RELEASE}\n" in done.output
    assert "This changes a snapshot: it counts from the next boot on." in done.output
    assert done.output.splitlines()[-2:] == [
        f"{KERNEL}-3-{RELEASE} is in the new snapshot and counts from the next boot on; "
        f"until then the kernel runs {NEWER}.",
        "'transactional-update reboot' boots in the way that is configured.",
    ]
    assert version(system, KERNEL, root=system.place(first)) == "3"
    assert (version(system, KERNEL), patches(system)) == ("4", {NEWER: "1"})

    document = answer(system.run("ulp", "downgrade", "-n", "--json"))
    assert (document["state"], document["command"][:4]) == ("reboot", list(UPDATE))
    assert document["snapshot"] == system.place(first)
    second = system.place(system.next_boot())
    assert [version(system, name, root=second) for name in (KERNEL, LIBRARY)] == ["3", "3"]
    assert version(system, LIBRARY) == "4"
    # a libzypp that runs the plugin in an update, too, has taken the process back from the snapshot at once
    assert process.answers()[0] in (400, 500)

    again = system.run("klp", "downgrade", "-n", check=False)
    assert (again.status, again.output) == (2, "")
    assert again.errors.splitlines()[0] == (
        f"klp: {KERNEL}-3-{RELEASE} is in {second} already, and counts from the next boot on"
    )


def test_an_update_that_waits_for_the_next_boot_is_what_goes_back(system: Transactional) -> None:
    system.run(*UPDATE, "install", f"{LIBRARY}=5", f"{KERNEL}=5")
    snapshot = system.place(system.next_boot())
    assert version(system, LIBRARY) == "4"
    plan = answer(system.run("ulp", "downgrade", "--dry-run", "--json"))
    assert (plan["packages"][0]["from"], plan["packages"][0]["to"]) == ("5-1", "4-1")
    assert plan["notes"] == [
        f"{snapshot}, which is continued, has {LIBRARY} 5-1; the running system has 4-1"
    ]
    assert (plan["snapshot"], plan["problems"]) == (snapshot, [])
    # the live patch before the one that the kernel runs, not before the one that waits
    said = system.run("klp", "downgrade", "--dry-run").output
    assert f"Now       5-{RELEASE}\nThen      3-{RELEASE}, from test\n" in said
    assert f"This continues {snapshot}: it counts from the next boot on." in said
    assert "which the kernel does not run" not in said
    done = system.run("ulp", "downgrade", "-n", "--to", "3")
    assert done.output.splitlines()[-2].startswith(f"{LIBRARY}-3-1 is in the new snapshot")
    assert version(system, KERNEL, root=system.place(system.next_boot())) == "5"


def test_what_is_in_the_snapshot_alone_counts(system: Transactional) -> None:
    """Its locks are those that zypper obeys there, and what it has not got cannot go back."""
    number = system.snapshot()
    (system.root / system.place(number)[1:] / "etc/zypp/locks").write_text(
        f"type: package\nmatch_type: glob\nsolvable_name: {LIBRARY}\n"
    )
    system.run("rpm", "--root", system.place(number), "--erase", "--noscripts", KERNEL)
    system.close(number)
    done = system.run("ulp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert f"is locked, by line 1 of {system.place(number)}/etc/zypp/locks" in done.errors
    done = system.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (66, "")
    assert (
        done.errors == f"klp: {KERNEL} is not installed in {system.place(number)}, which is to be changed\n"
    )


def test_who_may_not_ask_for_the_snapshot_is_told(system: Transactional) -> None:
    done = system.run(*ordinary_user(NOBODY), "ulp", "downgrade", "--dry-run")
    assert done.errors.startswith("ulp: the snapshot that is continued is not known (")
    assert done.errors.endswith("); this is about the running system\n")
    assert "Then      3-1, from test" in done.output


def test_a_snapshot_that_is_dropped(system: Transactional) -> None:
    gone = f"/srv/repository/{KERNEL}-3-{RELEASE}.noarch.rpm"
    system.run("mv", gone, f"{gone}.away")
    try:
        done = system.run("klp", "-n", "downgrade", check=False)
    finally:
        system.run("mv", f"{gone}.away", gone)
    assert done.status == 1
    assert done.errors.splitlines()[-1] == (
        f"klp: transactional-update ended with 1; nothing was changed: the kernel runs {NEWER}"
    )
    assert system.next_boot() == 1
    environment = {"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": system.place(1)}
    done = system.run("klp", "-n", "downgrade", check=False, env=environment)
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith("klp: this is a part of a transactional update")
