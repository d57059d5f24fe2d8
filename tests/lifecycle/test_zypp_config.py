# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.zypp_config import is_true, read_ini, read_zypp_config


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_file_all_is_where_libzypp_has_it(tmp_path: Path) -> None:
    config = read_zypp_config(tmp_path)
    assert config.solv_caches == tmp_path / "var/cache/zypp/solv"
    assert config.metadata == tmp_path / "var/cache/zypp/raw"
    assert config.repositories == tmp_path / "etc/zypp/repos.d"
    assert config.locks == tmp_path / "etc/zypp/locks"
    assert config.vendors == tmp_path / "etc/zypp/vendors.d"
    assert (config.allow_vendor_change, config.multiversion) == (False, ())


def test_what_the_file_says(tmp_path: Path) -> None:
    write(
        tmp_path / "etc/zypp/zypp.conf",
        """## a comment
[main]
cachedir = /somewhere
metadatadir=/else/where
locksfile.path = relative/is/ignored
arch = s390x
solver.allowVendorChange = true
multiversion = provides:multiversion(kernel), other
""",
    )
    write(tmp_path / "etc/zypp/multiversion.d/more", "# a comment\n\n third \n")
    config = read_zypp_config(tmp_path)
    assert config.solv_caches == tmp_path / "somewhere/solv"
    assert config.metadata == tmp_path / "else/where"
    assert config.locks == tmp_path / "etc/zypp/locks"
    assert (config.architecture, config.allow_vendor_change) == ("s390x", True)
    assert config.multiversion == ("provides:multiversion(kernel)", "other", "third")


def test_the_vendors_file_and_single_settings(tmp_path: Path) -> None:
    write(tmp_path / "usr/etc/zypp/zypp.conf", "[main]\ncachedir=/vendor\narch=x86_64\n")
    write(tmp_path / "etc/zypp/zypp.conf.d/10.conf", "[main]\ncachedir=/mine\n")
    config = read_zypp_config(tmp_path)
    assert (config.metadata, config.architecture) == (tmp_path / "mine/raw", "x86_64")


@pytest.mark.parametrize("text", ["1", "yes", "True", "on", "always", "+", "7", " true "])
def test_what_libzypp_takes_for_yes(text: str) -> None:
    assert is_true(text)


@pytest.mark.parametrize("text", ["", "0", "no", "false", "off", "00", "²", "enabled"])
def test_what_libzypp_takes_for_no(text: str) -> None:
    assert not is_true(text)


@given(content=st.binary(max_size=200) | st.text("[]=#;\n ab:", max_size=60).map(str.encode))
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "any-zypp-conf"
    (root / "etc/zypp").mkdir(parents=True, exist_ok=True)
    (root / "etc/zypp/zypp.conf").write_bytes(content)
    assert read_zypp_config(root).repositories.is_relative_to(root)
    assert all(isinstance(value, dict) for value in read_ini(root / "etc/zypp/zypp.conf").values())
