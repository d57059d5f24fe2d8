# SPDX-License-Identifier: GPL-2.0-or-later
"""What was installed before: asked with a time limit, whatever the rpm database does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from host import rpmdb
from tests.support import rpmroot, rpms
from tests.support.klp import CHANGELOG, NAME
from zypp_plugin.lookup import look_up


def test_versions_by_name(tmp_path: Path) -> None:
    specs = [
        rpms.Spec(name="a", version="2"),
        rpms.Spec(name="b", epoch=1),
        rpms.Spec(name="a", version="1", changelog=CHANGELOG),
        rpms.Spec(name=NAME, changelog=CHANGELOG),
    ]
    built = rpms.build(specs, into=tmp_path / "out", work=tmp_path / "build")
    root = rpmroot.create(tmp_path / "root")
    words = ["rpm", f"--root={root}", "--install", "--nodeps", "--nosignature", "--justdb"]
    subprocess.run([*words, *built], check=True, capture_output=True)
    versions, cves, problem = look_up([*"abc", NAME], root=str(root))
    assert problem == ""
    assert {name: sorted(found) for name, found in versions.items()} == {
        "a": ["1-1", "2-1"],
        "b": ["1:1-1"],
        NAME: ["1-1"],
    }
    assert cves == {NAME: ["CVE-2024-53042", "CVE-2024-50115"]}


def test_no_database(tmp_path: Path) -> None:
    versions, _, problem = look_up(["a"], root=str(tmp_path))
    assert versions == {}
    assert "there is no rpm database" in problem


def test_a_database_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpmdb, "installed", lambda *_, **__: time.sleep(60))
    began = time.monotonic()
    found = look_up(["a"], root="/", limit=0.3)
    assert time.monotonic() - began < 5
    assert found == ({}, {}, "the rpm database did not answer within 0.3 s")


def test_a_database_that_crashes_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpmdb, "installed", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    assert look_up(["a"], root="/") == ({}, {}, "reading the rpm database ended in a crash")
