# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendors import Vendors, read_vendors
from tests.lifecycle.test_zypp_config import write


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("SUSE LLC <https://www.suse.com/>", "suse linux products gmbh", True),
        ("SUSE", "openSUSE", False),
        ("openSUSE", "OPENSUSE", True),
        ("openSUSE", "openSUSE Build Service", False),
        ("Other", "other", True),
        ("Other", "Another", False),
        ("", "", True),
        ("", "SUSE", False),
    ],
)
def test_without_files(tmp_path: Path, left: str, right: str, same: bool) -> None:
    assert read_vendors(tmp_path).equivalent(left, right) is same


def test_files_add_classes_and_join_them(tmp_path: Path) -> None:
    write(tmp_path / "one", "[main]\nvendors = suse, opensuse\n")
    write(tmp_path / "two", "[main]\nvendors=mine,yours\n")
    write(tmp_path / "three", "[main]\nvendors=yours,suse\n")
    write(tmp_path / "junk", "vendors=nobody,suse\n")
    vendors = read_vendors(tmp_path)
    assert vendors.equivalent("SUSE LLC", "openSUSE")
    assert vendors.equivalent("My own", "SUSE") is False
    assert vendors.equivalent("Mine too", "SUSE")
    assert not vendors.equivalent("openSUSE Build Service", "openSUSE")
    assert not vendors.equivalent("nobody", "SUSE")


few = st.sampled_from(["suse", "SUSE LLC", "opensuse", "openSUSE x", "a", "A", "ab", "abc", "b", ""])


@given(
    classes=st.lists(st.lists(few.filter(bool), min_size=1, max_size=3), max_size=4),
    names=st.lists(few, max_size=3),
)
def test_it_is_an_equivalence(classes: list[list[str]], names: list[str]) -> None:
    vendors = Vendors()
    for each in classes:
        vendors.add(each)
    for each in classes:
        assert all(vendors.equivalent(each[0], other) for other in each)
    for one in names:
        assert vendors.equivalent(one, one)
        for two in names:
            assert vendors.equivalent(one, two) == vendors.equivalent(two, one)
            for three in names:
                if vendors.equivalent(one, two) and vendors.equivalent(two, three):
                    assert vendors.equivalent(one, three)
