# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a downgrade beside real zypper: what it would do, whatever repositories have and whatever is locked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import rpmmd, rpms
from tests.support.rpmmd import Entry
from tests.support.rpms import Spec
from tests.support.sandbox import Sandbox, sandbox

NAME = "glibc-livepatches"
Changes = frozenset[tuple[str, str, str]]  # name, edition before, edition after


@pytest.fixture(scope="module")
def system() -> Iterator[Sandbox]:
    """Version 3 and a package that it could need are installed."""
    with sandbox() as made:
        for alias in ("one", "two"):
            rpmmd.write(made.root / "srv" / alias, [])
            made.zypper("--quiet", "addrepo", "--no-gpgcheck", f"file:///srv/{alias}", alias)
        packages = rpms.build(
            [Spec(name=NAME, version="3", tags=["Vendor: SUSE"]), Spec(name="tools", version="2")],
            into=made.repository,
            work=made.work,
        )
        made.run("rpm", "--install", *(f"/srv/repository/{path.name}" for path in packages))
        yield made


def offer(system: Sandbox, **repositories: tuple[Entry, ...]) -> None:
    for alias, entries in repositories.items():
        rpmmd.write(system.root / "srv" / alias, entries)
    system.zypper("--quiet", "refresh", "--force")


# In the sandbox, where rpm finds the database; one process for several questions.
ASK = """
import json, sys
from host.errors import Error
from lifecycle.downgrade import choose, installed_package, plan
from lifecycle.packages import Packages

name, *wishes = sys.argv[1:]
packages = Packages()
package = installed_package(packages, name)
answers = []
for wish in wishes:
    try:
        move = choose(packages, package, below=package.evr, to=wish)
        others = plan(packages, [move]).others
        first = (name, package.evr, move.target.edition)
        answers.append([first, *((each.name, each.before, each.after) for each in others)])
    except Error:
        answers.append(None)
print(json.dumps(answers))
"""


def ours(system: Sandbox, *wishes: str) -> list[Changes | None]:
    """What we would do; None: nothing."""
    answers = json.loads(system.run(sys.executable, "-c", ASK, NAME, *wishes).output)
    return [None if found is None else frozenset(map(tuple, found)) for found in answers]


def theirs(system: Sandbox, edition: str) -> Changes | None:
    """What zypper would do; None: nothing, or not without removing something."""
    words = ("--xmlout", "--no-refresh", "install", "--oldpackage", "--dry-run", f"{NAME}={edition}")
    done = system.zypper(*words, check=False)
    if done.status:
        return None
    found = set()
    for kind in ElementTree.fromstring(done.output).iter("install-summary"):
        for change in kind:
            for each in change:
                after = "" if change.tag == "to-remove" else each.attrib["edition"]
                before = each.attrib["edition"] if change.tag == "to-remove" else each.get("edition-old", "")
                found.add((each.attrib["name"], before, after))
    return None if not found or any(not after for _, _, after in found) else frozenset(found)


def livepatches(version: str, *, vendor: str = "SUSE", **more: tuple[str, ...]) -> Entry:
    return Entry(name=NAME, version=version, vendor=vendor, **more)  # type: ignore[arg-type]


CASES = {
    "plain": (livepatches("1"), livepatches("2")),
    "needs what is there": (livepatches("2", requires=("tools",)),),
    "needs what is not there": (livepatches("2", requires=("other",)), Entry(name="other")),
    "needs what nobody has": (livepatches("2", requires=("nobody",)),),
    "takes the place of another": (livepatches("2", obsoletes=("tools",)),),
    "from another vendor": (livepatches("2", vendor="Somebody"),),
}


@pytest.mark.parametrize("entries", CASES.values(), ids=CASES)
def test_the_plan_is_what_zypper_would_do(system: Sandbox, entries: tuple[Entry, ...]) -> None:
    offer(system, one=entries, two=())
    assert ours(system, "2") == [theirs(system, "2-1")]


@pytest.mark.parametrize("lock", [NAME, f"{NAME} < 3", f"{NAME} > 3", "tools", "other"])
def test_locks(system: Sandbox, lock: str) -> None:
    offer(system, one=(livepatches("2", requires=("other",)), Entry(name="other")), two=())
    system.zypper("--quiet", "addlock", lock)
    try:
        assert ours(system, "2") == [theirs(system, "2-1")]
    finally:
        system.run("rm", "/etc/zypp/locks")


entries = st.builds(
    livepatches,
    st.sampled_from(["1", "1.5", "2", "2~rc1", "2^x", "2.0", "4"]),
    vendor=st.sampled_from(["SUSE", "suse", "openSUSE", "other", ""]),
    requires=st.sampled_from([(), (), ("tools",), ("other",), ("nobody",)]),
    obsoletes=st.sampled_from([(), (), ("tools",)]),
)
several = st.lists(entries, max_size=4, unique_by=lambda entry: entry.version).map(tuple)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=several, two=several, tools=st.sampled_from(["1", "3"]))
def test_any_repositories(
    system: Sandbox, one: tuple[Entry, ...], two: tuple[Entry, ...], tools: str
) -> None:
    offer(
        system,
        one=(*one, Entry(name="other", requires=("tools",))),
        two=(*two, Entry(name="tools", version=tools)),
    )
    editions = sorted({f"{entry.version}-1" for entry in (*one, *two) if entry.version != "4"})
    assert ours(system, *editions) == [theirs(system, edition) for edition in editions]
