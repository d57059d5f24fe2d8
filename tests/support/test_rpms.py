# SPDX-License-Identifier: GPL-2.0-or-later
"""RPMs are what their specifications say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import rpms


def query(file: Path, *words: str) -> str:
    done = subprocess.run(
        ["rpm", "--query", "--package", "--nosignature", *words, file],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_package(tmp_path: Path) -> None:
    (tmp_path / "library.so").write_bytes(b"\x7fELF anything")
    spec = rpms.livepatch_spec(
        "a-livepatches",
        [tmp_path / "library.so"],
        version="1.2",
        release="3",
        epoch=4,
        tags=["Provides: fix = 1"],
        scripts={"post -p <lua>": "print('hello')"},
        changelog="* Mon Jan 05 2026 A Person <a@example.org> - 1.2-3\n- CVE-2026-1\n",
    )
    [file] = rpms.build([spec], into=tmp_path / "out", work=tmp_path / "build")
    assert spec.evr == "4:1.2-3"
    assert query(file, "--queryformat", "%{EPOCHNUM}:%{EVR} %{ARCH}") == "4:4:1.2-3 noarch"
    directory = "/usr/lib64/a-livepatches"
    assert query(file, "--list").split() == [directory, f"{directory}/1.2", f"{directory}/1.2/library.so"]
    assert "fix = 1" in query(file, "--provides")
    assert "print('hello')" in query(file, "--scripts")
    assert "CVE-2026-1" in query(file, "--changelog")
    assert list((tmp_path / "build").iterdir()) == []


def test_a_repository(tmp_path: Path) -> None:
    rpms.build([rpms.Spec(name="a"), rpms.Spec(name="b")], into=tmp_path / "out", work=tmp_path / "build")
    assert (rpms.repository(tmp_path / "out") / "repodata/repomd.xml").exists()


def test_what_rpmbuild_refuses(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        rpms.build([rpms.Spec(name="a", tags=["Nonsense"])], into=tmp_path / "out", work=tmp_path / "build")
    assert b"Nonsense" in raised.value.output
