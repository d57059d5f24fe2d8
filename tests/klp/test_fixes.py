# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.fixes import Fixes, Info, read_fixes, read_info
from tests.support.klp import CHANGELOG


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


def test_numbers_of_all_trackers() -> None:
    fixes = read_fixes(["KLP: bsc#1 jsc#PED-123 CVE-2024-12345 and more"])
    assert fixes == Fixes(cves=("CVE-2024-12345",), others=("bsc#1", "jsc#PED-123", "and more"))


def test_what_rpms_ship_is_read_as_it_is_shown() -> None:
    text = "RPM: a-1-1.x86_64\nCVE: CVE-2025-0002, CVE-2025-0001\nbug fixes and enhancements: bsc#1\n"
    assert read_info(text) == Info(
        label="a-1-1.x86_64", fixes=Fixes(cves=("CVE-2025-0002", "CVE-2025-0001"), others=("bsc#1",))
    )
    nothing = "\tCVE: (none - this is an initial kernel live patch)\n\tbug fixes and enhancements: (none)\n"
    assert read_info(nothing) == Info(label="", fixes=Fixes(cves=(), others=()))


def test_what_rpms_ship_may_be_lines_of_the_changelog() -> None:
    info = read_info(CHANGELOG)
    assert info is not None
    assert info.fixes == read_fixes([CHANGELOG])


@pytest.mark.parametrize("text", ["", "CVE-2025-0001\n", "RPM: a-1-1.x86_64\n", "\0\0"])
def test_what_is_not_understood_says_nothing(text: str) -> None:
    assert read_info(text) is None


@given(text=st.text())
def test_any_file_is_read(text: str) -> None:
    info = read_info(f"CVE: {text}")
    assert info is not None
    assert not any(word.isspace() for word in (*info.fixes.cves, *info.fixes.others))


@given(entries=st.lists(st.text()))
def test_any_changelog_is_read(entries: list[str]) -> None:
    fixes = read_fixes(entries)
    assert len(set(fixes.cves + fixes.others)) == len(fixes.cves + fixes.others)


def test_a_hundred_thousand_lines_take_no_time() -> None:
    start = time.process_time()
    fixes = read_fixes([f"{' ' * 50}KLP: CVE-2024-{10000 + number}\n" for number in range(100_000)])
    assert len(fixes.cves) == 100_000
    assert time.process_time() - start < 3
