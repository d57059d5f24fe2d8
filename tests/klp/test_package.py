# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError
from host.rpmdb import DatabaseError
from klp.package import Fixes, find_packages, read_fixes
from tests.support import rpms
from tests.support.installed_root import database_directory, install
from tests.support.kernel_tree import write_module

RELEASE = "6.4.0-150600.9-default"
NAME = "kernel-livepatch-6_4_0-150600_9-default"

# As in SUSE's packages, bullets of the generator included.
CHANGELOG = """\
* Tue May 13 2025 vincenzo@example.com
- Fix for CVE-2024-53042 ("ipv4: ip_tunnel: fix something")
  Live patch for CVE-2024-53042. Upstream commit:
- ad4a3ca6a8e8 ("ipv4: ip_tunnel: fix something")
  KLP: CVE-2024-53042
  References: bsc#1233678 CVE-2024-53042
- commit 8797f72

* Mon May 12 2025 marcos@example.com
- Fix a leak
  KLP: bsc#1229275
  References: bsc#1229275

* Mon May 05 2025 marcos@example.com
- Fix two, see also CVE-1999-0001
  KLP: CVE-2024-50115, CVE-2024-53042
  References: bsc#1233019 CVE-2024-50115
"""


def test_the_tag_klp_decides_what_is_fixed() -> None:
    assert read_fixes(CHANGELOG.split("\n\n")) == Fixes(
        cves=("CVE-2024-53042", "CVE-2024-50115"), others=("bsc#1229275",)
    )


def test_references_count_where_no_entry_has_the_tag() -> None:
    changelog = [
        "- Fix\n  References: bsc#1 CVE-2020-0001\n",
        "- Other CVE-2020-0002\n\tReferences: bsc#1,bsc#2\n",
    ]
    assert read_fixes(changelog) == Fixes(cves=("CVE-2020-0001",), others=("bsc#1", "bsc#2"))


def test_words_that_are_no_number_stay_together() -> None:
    assert read_fixes(["KLP: fix the fix of the fix bsc#3"]).others == ("bsc#3", "fix the fix of the fix")


def test_an_initial_live_patch_fixes_nothing() -> None:
    assert read_fixes(["- New branch for SLE15-SP6_Update_0\n- commit 1234567"]) == Fixes(cves=(), others=())


@given(entries=st.lists(st.text()))
def test_any_changelog_is_read(entries: list[str]) -> None:
    fixes = read_fixes(entries)
    assert len(set(fixes.cves + fixes.others)) == len(fixes.cves + fixes.others)


def test_a_hundred_thousand_lines_take_no_time() -> None:
    start = time.process_time()
    fixes = read_fixes([f"{' ' * 50}KLP: CVE-2024-{10000 + number}\n" for number in range(100_000)])
    assert len(fixes.cves) == 100_000
    assert time.process_time() - start < 3


def test_the_owner_of_a_loaded_module_is_found(tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = write_module(root, RELEASE, "livepatch-2-150600_2_1.ko")
    write_module(root, RELEASE, "livepatch-hand-made.ko.zst")
    spec = rpms.Spec(
        name=NAME, version="2", release="150600.2.1", files={path: root / path[1:]}, changelog=CHANGELOG
    )
    install(root, [spec], work=tmp_path)
    packages = find_packages(["livepatch_2_150600_2_1", "livepatch_hand_made", "not_a_file"], root=str(root))
    assert list(packages) == ["livepatch_2_150600_2_1"]
    found = packages["livepatch_2_150600_2_1"]
    assert found.package.label == f"{NAME}-2-150600.2.1.noarch"
    assert found.fixes.cves == ("CVE-2024-53042", "CVE-2024-50115")


def test_no_module_needs_no_database(tmp_path: Path) -> None:
    assert find_packages([], root=str(tmp_path)) == {}


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    write_module(tmp_path, RELEASE, "a.ko")
    with pytest.raises(DatabaseError, match=str(database_directory(tmp_path))):
        find_packages(["a"], root=str(tmp_path))


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    write_module(tmp_path, RELEASE, "a.ko")
    database = database_directory(tmp_path)
    database.mkdir(parents=True)
    (database / "rpmdb.sqlite").write_bytes(b"no database at all " * 500)
    with pytest.raises(DatabaseError, match=str(database)):
        find_packages(["a"], root=str(tmp_path))


@pytest.mark.parametrize("release", ["", "../../etc", "..", "/etc"])
def test_a_tree_that_does_not_tell_its_kernel_is_refused(tmp_path: Path, release: str) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text(release)
    with pytest.raises(BadDataError, match="which kernel runs"):
        find_packages(["a"], root=str(tmp_path))
