# SPDX-License-Identifier: GPL-2.0-or-later
"""``zypper lifecycle`` beside real zypper: the same updates, whatever is configured, and no need of zypper."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import rpmmd, rpms
from tests.support.rpmmd import Entry
from tests.support.rpms import Spec
from tests.support.sandbox import Sandbox, sandbox
from tests.support.users import NOBODY, ordinary_user

PROGRAM = Path(sys.prefix, "bin/zypper-lifecycle")
SUSE = "SUSE LLC <https://www.suse.com/>"
INSTALLED = ("a", "b", "c", "d", "e", "kernel")
Updates = dict[str, str]


@pytest.fixture(scope="module")
def system() -> Iterator[Sandbox]:
    """Six packages are installed in version 1, and have updates in two repositories."""
    with sandbox() as made:
        for alias in ("one", "two"):
            rpmmd.write(made.root / "srv" / alias, [])
            made.zypper("--quiet", "addrepo", "--no-gpgcheck", f"file:///srv/{alias}", alias)
        tags = [f"Vendor: {SUSE}", "Provides: multiversion(kernel)"]
        packages = rpms.build(
            [
                Spec(name=name, version="1", tags=tags if name == "kernel" else tags[:1])
                for name in INSTALLED
            ],
            into=made.repository,
            work=made.work,
        )
        made.run("rpm", "--install", *(f"/srv/repository/{path.name}" for path in packages))
        yield made


@pytest.fixture
def fresh(system: Sandbox) -> Iterator[Sandbox]:
    """The system with the repositories of ONE and TWO, and afterwards without what a test configured."""
    offer(system, one=ONE, two=TWO)
    yield system
    system.run(
        "sh", "-c", "rm -rf /etc/zypp/locks /etc/zypp/zypp.conf /etc/zypp/vendors.d /etc/zypp/multiversion.d"
    )
    system.zypper("--quiet", "modifyrepo", "--enable", "--priority", "99", "one", "two")
    system.run("sh", "-c", "rpm --quiet --erase new --nodeps || true")


def of(name: str, version: str, *, vendor: str = SUSE, **more: Any) -> Entry:
    return Entry(name=name, version=version, vendor=vendor, **more)


ONE = (
    of("a", "2"),
    of("a", "10"),
    of("b", "2"),
    of("c", "2", vendor="Somebody"),
    of("d", "2", requires=["nobody has this"]),
    of("kernel", "2", provides=["multiversion(kernel)"]),
)
TWO = (
    of("a", "3"),
    of("b", "2", vendor="suse"),
    of("c", "2", vendor="openSUSE"),
    of("e", "1"),
    of("f", "1"),
)


def offer(system: Sandbox, **repositories: tuple[Entry, ...]) -> None:
    for alias, entries in repositories.items():
        rpmmd.write(system.root / "srv" / alias, entries)
    system.zypper("--quiet", "refresh", "--force")


def listed(system: Sandbox) -> Updates:
    """What zypper says."""
    document = ElementTree.fromstring(system.zypper("--xmlout", "--no-refresh", "list-updates").output)
    return {each.attrib["name"]: each.attrib["edition"] for each in document.iter("update")}


def ours(system: Sandbox) -> Updates:
    """What we say, through zypper."""
    document = json.loads(system.run("zypper", "lifecycle", "--json", *INSTALLED).output)
    return {each["name"]: each["update"]["edition"] for each in document["packages"] if each["update"]}


PLAIN = {"a": "10-1", "b": "2-1", "kernel": "2-1"}


def test_the_usual_updates(fresh: Sandbox) -> None:
    assert ours(fresh) == listed(fresh) == PLAIN


@pytest.mark.parametrize(
    ("path", "content", "change"),
    [
        ("etc/zypp/zypp.conf", "[main]\nsolver.allowVendorChange = true\n", {"c": "2-1"}),
        ("etc/zypp/vendors.d/mine", "[main]\nvendors = suse,somebody\n", {"c": "2-1"}),
        ("etc/zypp/vendors.d/mine", "[main]\nvendors = nobody,somebody\n", {}),
        ("etc/zypp/zypp.conf", "[main]\nmultiversion = provides:multiversion(kernel)\n", {}),
        ("etc/zypp/zypp.conf", "[main]\nmultiversion = kernel, b\n", {}),
    ],
)
def test_configuration(fresh: Sandbox, path: str, content: str, change: Updates) -> None:
    fresh.write(path, content)
    assert ours(fresh) == listed(fresh) == PLAIN | change


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a"], {"b", "kernel"}),
        (["?"], {"kernel"}),
        (["--repo", "one", "a"], {"a", "b", "kernel"}),
        (["--type", "pattern", "a"], {"a", "b", "kernel"}),
        (["a > 5"], {"a", "b", "kernel"}),
        (["A"], {"a", "b", "kernel"}),
    ],
)
def test_locks(fresh: Sandbox, words: list[str], expected: set[str]) -> None:
    fresh.zypper("--quiet", "addlock", *words)
    found = ours(fresh)
    assert found == listed(fresh)
    assert set(found) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--disable", "one"], {"a": "3-1", "b": "2-1"}),
        (["--disable", "one", "two"], {}),
        (["--priority", "50", "two"], {"a": "3-1", "b": "2-1", "kernel": "2-1"}),
        (["--priority", "120", "two"], PLAIN),
    ],
)
def test_repositories(fresh: Sandbox, words: list[str], expected: Updates) -> None:
    fresh.zypper("--quiet", "modifyrepo", *words)
    assert ours(fresh) == listed(fresh) == expected


names = st.sampled_from(INSTALLED)
editions = st.sampled_from(["0.9", "1", "1.0", "2", "10", "2~rc1", "2^x"])
entries = st.builds(
    of,
    names,
    editions,
    vendor=st.sampled_from([SUSE, "suse", "openSUSE", "other", ""]),
    epoch=st.sampled_from([0, 0, 0, 1]),
    requires=st.sampled_from([(), (), ("a",), ("b",), ("nothing",)]),
    obsoletes=st.sampled_from([(), (), (), ("c",)]),
)
several = st.lists(
    entries, max_size=5, unique_by=lambda entry: (entry.name, entry.version, entry.epoch)
).map(tuple)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    one=several,
    two=several,
    priority=st.sampled_from(["50", "99"]),
    lock=st.sampled_from([None, "a", "[bc]"]),
)
def test_any_repositories(
    system: Sandbox, one: tuple[Entry, ...], two: tuple[Entry, ...], priority: str, lock: str | None
) -> None:
    offer(system, one=one, two=two)
    system.zypper("--quiet", "modifyrepo", "--priority", priority, "two")
    if lock:
        system.zypper("--quiet", "addlock", lock)
    try:
        assert ours(system) == listed(system)
    finally:
        system.run("rm", "-f", "/etc/zypp/locks")
        system.zypper("--quiet", "modifyrepo", "--priority", "99", "two")


def remove_caches(system: Sandbox) -> None:
    system.run("rm", "-r", "/var/cache/zypp/solv")


def damage_caches(system: Sandbox) -> None:
    system.run("sh", "-c", "for each in /var/cache/zypp/solv/*/solv; do truncate --size=100 $each; done")


def outdate_cache(system: Sandbox) -> None:
    """Leave the cache of other metadata than those that are there."""
    system.run("cp", "-a", "/var/cache/zypp/solv/one", "/tmp/one")
    offer(system, one=(of("a", "2"),))
    system.run("sh", "-c", "rm -r /var/cache/zypp/solv/one && mv /tmp/one /var/cache/zypp/solv/one")


def install_behind(system: Sandbox) -> None:
    """Let rpm do what zypp's cache knows nothing of."""
    [new] = rpms.build([Spec(name="new")], into=system.repository, work=system.work)
    system.run("rpm", "--install", f"/srv/repository/{new.name}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (remove_caches, PLAIN),
        (damage_caches, PLAIN),
        (outdate_cache, {"a": "3-1", "b": "2-1"}),
        (install_behind, PLAIN),
    ],
)
def test_caches_are_not_needed_and_not_written(
    fresh: Sandbox, change: Callable[[Sandbox], None], expected: Updates
) -> None:
    listed(fresh)  # makes the caches
    change(fresh)
    before = contents(fresh)
    assert ours(fresh) == expected
    assert contents(fresh) == before
    assert listed(fresh) == expected


def contents(system: Sandbox) -> dict[str, str]:
    """All that zypp keeps, with checksums."""
    found = {}
    for place in ("var/cache/zypp", "var/lib/zypp", "etc/zypp"):
        for path in (system.root / place).rglob("*"):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def test_zypper_is_not_run(fresh: Sandbox) -> None:
    fresh.run("mv", "/usr/bin/zypper", "/usr/bin/zypper-away")
    try:
        done = fresh.run(PROGRAM, "--json", "a")
    finally:
        fresh.run("mv", "/usr/bin/zypper-away", "/usr/bin/zypper")
    assert json.loads(done.output)["packages"][0]["update"]["edition"] == "10-1"


def test_while_zypper_holds_its_lock(fresh: Sandbox) -> None:
    # the kernel is the last of the table: zypper has the lock then and keeps it
    with fresh.locked("list-updates", answer="| kernel"):
        assert fresh.zypper("list-updates", check=False).status == 7
        assert ours(fresh) == PLAIN


def test_an_ordinary_user_may_ask(fresh: Sandbox) -> None:
    words = ordinary_user(NOBODY)
    done = fresh.run(*words, PROGRAM, "--json", "a")
    assert json.loads(done.output)["packages"][0]["update"]["edition"] == "10-1"
