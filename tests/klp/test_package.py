# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from host.errors import BadDataError
from host.rpmdb import DatabaseError
from klp.fixes import Fixes
from klp.package import INFO, Packages, find_packages
from lifecycle.installed import InstalledPackage
from tests.support import rpms
from tests.support.installed_root import database_directory, install
from tests.support.kernel_tree import write_module
from tests.support.klp import CHANGELOG, NAME, RELEASE

MODULE = "livepatch_2_150600_2_1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with an RPM of a live patch."""
    root = tmp_path / "root"
    path = write_module(root, RELEASE, "livepatch-2-150600_2_1.ko")
    spec = rpms.Spec(
        name=NAME, version="2", release="150600.2.1", files={path: root / path[1:]}, changelog=CHANGELOG
    )
    install(root, [spec], work=tmp_path)
    return root


def write_info(root: Path, text: str, *, version: str = "0123ABC") -> None:
    """Write what an RPM ships about the loaded module."""
    (root / "sys/module" / MODULE).mkdir(parents=True)
    (root / "sys/module" / MODULE / "srcversion").write_text(f"{version}\n")
    (root / INFO).mkdir(parents=True)
    (root / INFO / f"{MODULE}-0123ABC").write_text(text)


def test_the_owner_of_a_loaded_module_is_found(root: Path) -> None:
    write_module(root, RELEASE, "livepatch-hand-made.ko.zst")
    packages = find_packages([MODULE, "livepatch_hand_made", "not_a_file"], root=str(root))
    assert (list(packages.found), packages.problem) == ([MODULE], None)
    found = packages.found[MODULE]
    assert found.package.label == f"{NAME}-2-150600.2.1.noarch"
    assert found.fixes.cves == ("CVE-2024-53042", "CVE-2024-50115")
    assert not found.is_initial


INFO_TEXT = """\
    RPM: kernel-livepatch-6_4_0-150600_9-default-3-150600.3.1.x86_64
    CVE: CVE-2025-0002 CVE-2025-0001
    bug fixes and enhancements: (none)
"""


def test_what_the_rpm_ships_needs_no_database(tmp_path: Path) -> None:
    write_info(tmp_path, INFO_TEXT)
    packages = find_packages([MODULE], root=str(tmp_path))
    assert packages.problem is None
    found = packages.found[MODULE]
    assert found.package == InstalledPackage(name=NAME, edition="3-150600.3.1", arch="x86_64")
    assert found.fixes == Fixes(cves=("CVE-2025-0002", "CVE-2025-0001"), others=())


def test_what_the_rpm_ships_counts_for_a_module_that_is_not_loaded(tmp_path: Path) -> None:
    """There is no telling which build of the module would be loaded; that of the package is meant."""
    root = tmp_path / "root"
    module = write_module(root, RELEASE, "livepatch-2-150600_2_1.ko")
    info = tmp_path / "info"
    info.write_text("CVE: CVE-2025-0002\n")
    files = {module: root / module[1:], f"/{INFO}/{MODULE}-0123ABC": info}
    install(root, [rpms.Spec(name=NAME, version="2", files=files, changelog=CHANGELOG)], work=tmp_path)
    assert find_packages([MODULE], root=str(root)).found[MODULE].fixes.cves[0] == "CVE-2024-53042"
    (root / INFO).mkdir(parents=True)
    (root / INFO / f"{MODULE}-0123ABC").write_text(info.read_text())
    assert find_packages([MODULE], root=str(root)).found[MODULE].fixes.cves == ("CVE-2025-0002",)


def test_what_the_rpm_ships_may_lack_its_name(root: Path) -> None:
    write_info(root, "CVE: CVE-2025-0002\n")
    found = find_packages([MODULE], root=str(root)).found[MODULE]
    assert (found.package.edition, found.fixes.cves) == ("2-150600.2.1", ("CVE-2025-0002",))


@pytest.mark.parametrize(
    ("text", "version"),
    [(INFO_TEXT, "another"), (INFO_TEXT, "../x"), (INFO_TEXT, ""), ("\0\x1b nonsense", "0123ABC")],
)
def test_what_an_rpm_ships_counts_only_for_the_module_that_is_loaded(
    root: Path, text: str, version: str
) -> None:
    write_info(root, text, version=version)
    assert find_packages([MODULE], root=str(root)).found[MODULE].fixes.others == ("bsc#1229275",)


def test_no_module_needs_no_database(tmp_path: Path) -> None:
    assert find_packages([], root=str(tmp_path)) == Packages()


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    write_module(tmp_path, RELEASE, "a.ko")
    problem = find_packages(["a"], root=str(tmp_path)).problem
    assert isinstance(problem, DatabaseError)
    assert str(database_directory(tmp_path)) in problem.sentence


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    write_module(tmp_path, RELEASE, "a.ko")
    database = database_directory(tmp_path)
    database.mkdir(parents=True)
    (database / "rpmdb.sqlite").write_bytes(b"no database at all " * 500)
    problem = find_packages(["a"], root=str(tmp_path)).problem
    assert isinstance(problem, DatabaseError)
    assert str(database) in problem.sentence


def test_a_package_that_rpm_passes_over_is_not_taken_for_none(root: Path) -> None:
    with sqlite3.connect(database_directory(root) / "rpmdb.sqlite") as database:
        database.execute("UPDATE Packages SET blob = substr(blob, 1, 20)")
    database.close()
    packages = find_packages([MODULE], root=str(root))
    assert (packages.found, type(packages.problem)) == ({}, DatabaseError)
    assert "the rpm database is damaged: " in str(packages.problem)


def test_a_locked_database_is_not_waited_for_without_end(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klp.package._PATIENCE", 0.5)
    holder = sqlite3.connect(database_directory(root) / "rpmdb.sqlite", isolation_level=None)
    try:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        problem = find_packages([MODULE], root=str(root)).problem
    finally:
        holder.close()
    assert isinstance(problem, DatabaseError)
    assert problem.sentence == "the rpm database cannot be read: there was no answer within 0.5 s"


@pytest.mark.parametrize("release", ["", "../../etc", "..", "/etc"])
def test_a_tree_that_does_not_tell_its_kernel_is_refused(tmp_path: Path, release: str) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text(release)
    problem = find_packages(["a"], root=str(tmp_path)).problem
    assert isinstance(problem, BadDataError)
    assert "which kernel runs" in problem.sentence
