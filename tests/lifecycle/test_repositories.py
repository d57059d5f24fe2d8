# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.repositories import USUAL_PRIORITY, Repository, read_repositories
from lifecycle.zypp_config import read_zypp_config
from tests.lifecycle.test_zypp_config import write


def repositories(root: Path, *, release: str = "15.6") -> dict[str, Repository]:
    return {each.alias: each for each in read_repositories(read_zypp_config(root), release=release)}


def test_what_the_files_say(tmp_path: Path) -> None:
    write(
        tmp_path / "etc/zypp/repos.d/a.repo",
        """[sle-pool]
name=SLE Pool
enabled=1
priority=50
baseurl=https://example.com/one
https://example.com/two
path=/

[off]
enabled=0
name=
priority=0
""",
    )
    write(tmp_path / "etc/zypp/repos.d/b.repo", "[home/me]\npath=/some/../../where\npriority=many\n")
    write(tmp_path / "etc/zypp/repos.d/c.txt", "[none]\n")
    found = repositories(tmp_path)
    assert list(found) == ["home/me", "off", "sle-pool"]
    cache = tmp_path / "var/cache/zypp"
    assert found["sle-pool"] == Repository(
        alias="sle-pool",
        name="SLE Pool",
        enabled=True,
        priority=50,
        cache=cache / "solv/sle-pool/solv",
        metadata=cache / "raw/sle-pool",
    )
    assert (found["off"].name, found["off"].enabled) == ("off", False)
    assert found["off"].priority == found["home/me"].priority == USUAL_PRIORITY
    assert found["home/me"].enabled
    assert found["home/me"].cache == cache / "solv/home_me/solv"
    assert found["home/me"].metadata == cache / "raw/home_me/some/where"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Leap $releasever ($basearch)", "Leap 15.6 (x86_64)"),
        ("${releasever_major}-${releasever_minor} $mine", "15-6 my own"),
        ("$nobody ${nothing} $ ${", "$nobody ${nothing} $ ${"),
    ],
)
def test_variables_in_a_name(tmp_path: Path, name: str, shown: str) -> None:
    write(tmp_path / "etc/zypp/zypp.conf", "[main]\narch=x86_64\n")
    write(tmp_path / "etc/zypp/repos.d/a.repo", f"[a]\nname={name}\n")
    write(tmp_path / "etc/zypp/vars.d/mine", "my own\nand more\n")
    assert repositories(tmp_path)["a"].name == shown


@given(content=st.binary(max_size=200) | st.text("[]=#/$\n a1", max_size=60).map(str.encode))
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "any-repo"
    (root / "etc/zypp/repos.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/zypp/repos.d/any.repo").write_bytes(content)
    for each in repositories(root).values():
        assert each.metadata.is_relative_to(root / "var/cache/zypp/raw")
        assert each.cache.parents[1] == root / "var/cache/zypp/solv"
        assert each.priority > 0
