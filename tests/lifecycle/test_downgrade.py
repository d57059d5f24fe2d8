# SPDX-License-Identifier: GPL-2.0-or-later
"""Which older version is chosen, and what is refused with which words."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from host.errors import Error, ExitStatus, UsageError
from host.rpmdb import compare
from lifecycle.downgrade import check_room, choose, installed_package, plan
from lifecycle.packages import Packages
from tests.support import zypp_root
from tests.support.rpms import Spec
from tests.support.zypp_root import ZyppRoot

NAME = "glibc-livepatches"
PATCH = (
    '<?xml version="1.0"?><updates><update from="x" status="retracted" type="security" version="1"><id>1</id>\
<title>t</title><pkglist><collection><package name="{name}" version="{version}" release="1" arch="noarch">\
<filename>x.rpm</filename></package></collection></pkglist></update></updates>'
)


def versions(*numbers: str, name: str = NAME) -> list[Spec]:
    return [Spec(name=name, version=number, release="1") for number in numbers]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ZyppRoot:
    """Version 4 is installed; one repository has 1, 2 and 5, another 2 and 3, a disabled one 0.5."""
    system = zypp_root.make(tmp_path_factory.mktemp("system"))
    system.install(*versions("4"), Spec(name="epoch-livepatches", version="1", epoch=2))
    system.add_repository("one", *versions("1", "2", "5"), settings="name=One")
    system.add_repository("two", *versions("2", "3"), settings="priority=50")
    system.add_repository(
        "off", *versions("0.5"), *versions("0.1", name="epoch-livepatches"), settings="enabled=0"
    )
    return system


@pytest.fixture
def system(made: ZyppRoot, tmp_path: Path) -> ZyppRoot:
    """A copy of it."""
    shutil.copytree(made.root, tmp_path / "root", symlinks=True)
    return ZyppRoot(tmp_path / "root", tmp_path)


def wish(system: ZyppRoot, to: str | None = None, *, below: str | None = None, name: str = NAME) -> str:
    packages = Packages(str(system.root))
    package = installed_package(packages, name)
    move = choose(packages, package, below=below or package.evr, to=to)
    assert plan(packages, [move]).moves == (move,)
    return f"{move.wish} {move.target.repository.alias}"


def refusal(system: ZyppRoot, to: str | None = None, **more: str) -> Error:
    with pytest.raises(Error) as caught:
        wish(system, to, **more)
    return caught.value


@pytest.mark.parametrize(
    ("to", "below", "expected"),
    [
        (None, None, "3-1 two"),
        (None, "3-1", "2-1 two"),  # of two repositories the one that is the more wanted
        ("2", None, "2-1 two"),
        ("2-1", None, "2-1 two"),
        ("0:2-1", None, "2-1 two"),
        ("2.0", None, None),
        ("1", None, "1-1 one"),
    ],
)
def test_what_is_chosen(made: ZyppRoot, to: str | None, below: str | None, expected: str | None) -> None:
    if expected is None:
        assert refusal(made, to).status is ExitStatus.NOTHING_MATCHED
    else:
        assert wish(made, to, below=below) == f"{NAME}={expected}"


@pytest.mark.parametrize(
    ("to", "sentence", "hint"),
    [
        ("9", f"no repository has {NAME} 9", "a disabled repository may: 'zypper modifyrepo --enable off'"),
        ("4", f"{NAME}-4-1 is in use already", "older ones there are: 3-1, 2-1, 1-1"),
        ("5", f"{NAME}-5-1 is newer than 4-1, which is in use", f"'zypper update {NAME}' goes forward"),
        (
            "3-2",
            f"no repository has {NAME} 3-2",
            "a disabled repository may: 'zypper modifyrepo --enable off'",
        ),
    ],
)
def test_what_is_refused(made: ZyppRoot, to: str, sentence: str, hint: str) -> None:
    error = refusal(made, to)
    assert (error.sentence, error.hint, error.status) == (sentence, hint, ExitStatus.NOTHING_MATCHED)


def test_nothing_is_older(made: ZyppRoot) -> None:
    error = refusal(made, below="1-1")
    assert error.sentence == f"no repository has a version of {NAME} below 1-1"
    error = refusal(made, name="epoch-livepatches")
    assert error.sentence == "no repository has a version of epoch-livepatches below 2:1-1"
    assert error.hint == "a disabled repository may: 'zypper modifyrepo --enable off'"


def test_a_package_that_is_not_installed(made: ZyppRoot) -> None:
    assert refusal(made, name="absent").status is ExitStatus.NO_INPUT


def test_what_was_taken_back_is_not_chosen_but_can_be_named(system: ZyppRoot) -> None:
    metadata = system.metadata("two")
    update = system.work / "updateinfo.xml"
    update.write_text(PATCH.format(name=NAME, version="3"))
    command = ["modifyrepo_c", "--mdtype=updateinfo", str(update), str(metadata / "repodata")]
    subprocess.run(command, check=True, capture_output=True)
    assert wish(system) == f"{NAME}=2-1 two"
    assert wish(system, "3") == f"{NAME}=3-1 two"


@pytest.mark.parametrize("lock", [NAME, f"{NAME} < 4", f"{NAME} == 4-1"])
def test_a_lock_is_named_with_its_line(system: ZyppRoot, lock: str) -> None:
    system.write(
        "etc/zypp/locks", f"\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {lock}\n"
    )
    error = refusal(system)
    assert "is locked, by line 2 of " in error.sentence
    assert error.status is ExitStatus.FAILED


@pytest.mark.parametrize("how", ["missing", "corrupt", "empty"])
def test_caches_are_not_needed(system: ZyppRoot, how: str) -> None:
    for alias in ("one", "two"):
        if how == "missing":
            system.solv(alias).unlink()
        else:
            system.solv(alias).write_bytes(b"SOLV" * 100 if how == "corrupt" else b"")
    assert wish(system) == f"{NAME}=3-1 two"


def test_a_repository_that_has_vanished_is_the_hint(system: ZyppRoot) -> None:
    for alias in ("one", "two"):
        shutil.rmtree(system.metadata(alias))
        system.solv(alias).unlink()
    shutil.rmtree(system.metadata("off"))
    system.solv("off").unlink()
    error = refusal(system)
    assert error.hint.startswith("the repository one is left out: there are no metadata in ")


def test_what_would_be_removed_is_refused(system: ZyppRoot) -> None:
    system.install(Spec(name="tool", tags=[f"Requires: {NAME} >= 4"]))
    error = refusal(system)
    assert f"{NAME}-3-1 cannot be installed" in error.sentence
    assert "tool" in error.sentence


def test_room(made: ZyppRoot) -> None:
    packages = Packages(str(made.root))
    package = installed_package(packages, NAME)
    small = plan(packages, [choose(packages, package, below=package.evr)])
    check_room(small, packages, root=str(made.root))
    with pytest.raises(Error, match=r"there is not enough room: \d+ MiB are needed on the file system of /"):
        check_room(replace(small, unpacked=1 << 60), packages, root=str(made.root))
    with pytest.raises(Error, match="there is not enough room"):
        check_room(replace(small, download=1 << 60), packages, root=str(made.root))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    to=st.text(max_size=12) | st.from_regex(r"[0-9.:~^+-]{1,8}", fullmatch=True),
    below=st.sampled_from(["4-1", "2-1"]),
)
@example(to="-", below="4-1")
@example(to="4-", below="4-1")
@example(to=":4", below="4-1")
@example(to="٤", below="4-1")
def test_any_version_is_found_or_refused(packages: Packages, to: str, below: str) -> None:
    package = installed_package(packages, NAME)
    try:
        move = choose(packages, package, below=below, to=to)
    except UsageError as error:
        assert repr(to)[1:-1] in repr(error.sentence)
    except Error as error:
        assert error.status in (ExitStatus.NOTHING_MATCHED, ExitStatus.FAILED)
    else:
        assert compare(move.target.edition, below) < 0


@pytest.fixture(scope="module")
def packages(made: ZyppRoot) -> Packages:
    return Packages(str(made.root))
