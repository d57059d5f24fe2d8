# SPDX-License-Identifier: GPL-2.0-or-later
"""A real rpm database under a root of its own, whole and broken."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from host import rpmdb
from host.rpmdb import DatabaseError
from tests.support import rpmroot, rpms


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with three packages in its database."""
    work = tmp_path_factory.mktemp("rpms")
    (work / "text").write_text("hello\n")
    files = rpms.build(
        [
            rpms.Spec(name="one", version="1.0", release="2", files={"/srv/one/text": work / "text"}),
            rpms.Spec(name="two", version="3", epoch=4),
            rpms.Spec(name="one", version="1.1", release="1", files={"/srv/one/text2": work / "text"}),
        ],
        into=work / "out",
        work=work / "build",
    )
    root = tmp_path_factory.mktemp("root")
    rpmroot.create(root)
    subprocess.run(
        [
            "rpm",
            f"--root={root}",
            "--install",
            "--nodeps",
            "--noscripts",
            "--justdb",
            "--nosignature",
            *files,
        ],
        check=True,
        capture_output=True,
    )
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(filled, tmp_path / "root"))


def test_installed_packages_and_their_files(root: Path) -> None:
    packages = rpmdb.installed(["one", "two", "three", "one"], root=str(root))
    assert sorted((package.name, package.evr, package.arch) for package in packages) == [
        ("one", "1.0-2", "noarch"),
        ("one", "1.1-1", "noarch"),
        ("two", "4:3-1", "noarch"),
    ]
    [file] = next(package for package in packages if package.evr == "1.0-2").files
    assert file.path == "/srv/one/text"
    assert file.matches(b"hello\n")
    assert not file.matches(b"hello")


def test_nothing_is_asked_for(root: Path) -> None:
    assert rpmdb.installed([], root=str(root)) == ()


def test_a_missing_database_is_not_an_empty_one(root: Path) -> None:
    shutil.rmtree(rpmroot.path(root))
    with pytest.raises(DatabaseError, match="there is no rpm database"):
        rpmdb.installed(["one"], root=str(root))
    assert not rpmroot.path(root).exists()


@pytest.mark.parametrize("size", [0, 5000])
def test_a_damaged_database_is_one_sentence(root: Path, size: int) -> None:
    for file in rpmroot.path(root).iterdir():
        if size:
            with file.open("r+b") as opened:
                opened.truncate(size)
        else:
            file.write_bytes(b"garbage" * 1000)
    with pytest.raises(DatabaseError, match="cannot be read") as raised:
        rpmdb.installed(["one"], root=str(root))
    assert "rebuilddb" in raised.value.hint


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("1-1", "1-1", 0),
        ("1.10-1", "1.9-1", 1),
        ("1-1", "1-1.1", -1),
        ("1:1-1", "2-1", 1),
        ("0:2-1", "2-1", 0),
        ("2.0~rc1-1", "2.0-1", -1),
    ],
)
def test_versions_are_compared_as_rpm_does(left: str, right: str, order: int) -> None:
    assert rpmdb.compare(left, right) == order
    assert rpmdb.compare(right, left) == -order


def test_what_rpm_passes_over_can_be_told(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(rpmroot.path(root) / "rpmdb.sqlite") as database:
        database.execute("UPDATE Packages SET blob = substr(blob, 1, 20) WHERE hnum = 2")
    database.close()
    with rpmdb.opened(str(root)) as opened:
        assert len(list(opened.dbMatch())) == 2
    assert capfd.readouterr().err == ""
    with rpmdb.opened(str(root), loud=True) as opened:
        assert len(list(opened.dbMatch())) == 2
    assert "#2" in "".join(capfd.readouterr().err.split())
