# SPDX-License-Identifier: GPL-2.0-or-later
"""What a container's path says of its package; tests/system/test_zypper_downgrade_processes.py has the processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulp.wayback import package_of, version_of


@pytest.mark.parametrize(
    ("path", "package", "version"),
    [
        ("/usr/lib64/glibc-livepatches/4/libc_2.38_livepatch4.so", "glibc-livepatches", "4"),
        ("/usr/lib64/glibc-livepatches/0.1/deep/er/x.so", "glibc-livepatches", "0.1"),
        ("/usr/lib64/glibc-livepatches/x.so", "glibc-livepatches", ""),
        ("/var/livepatches/glibc-livepatches/4/lp/x.so", "glibc-livepatches", "4"),
        ("/.snapshots/2/snapshot/usr/lib64/glibc-livepatches/4/x.so", "glibc-livepatches", "4"),
        ("/usr/lib64/x.so", "", ""),
        ("/tmp/glibc-livepatches/4/x.so", "", ""),
        ("", "", ""),
    ],
)
def test_a_path(path: str, package: str, version: str) -> None:
    assert (package_of(path), version_of(path)) == (package, version)


@given(path=st.text(alphabet="/ab.livepatchesusr64", max_size=60) | st.text())
def test_any_path(path: str) -> None:
    package, version = package_of(path), version_of(path)
    assert "/" not in package and "/" not in version
    assert not version or package
    assert package in path and version in path
