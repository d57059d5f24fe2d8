# SPDX-License-Identifier: GPL-2.0-or-later
"""The watcher's unit: what it starts is installed, and it forbids what the watcher does not need."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from ulp.watch import presence

SPEC = Path(__file__).parents[2] / "spec"
UNIT = SPEC / "systemd" / presence.UNIT


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    assert parser["Install"]["WantedBy"] == "multi-user.target"
    return dict(parser["Service"])


def test_what_it_starts_and_where_it_writes() -> None:
    unit = service()
    assert (unit["Type"], unit["ExecStart"]) == ("notify", "/usr/lib/zypp-livepatch/bin/ulp watch")
    assert f"/run/{unit['RuntimeDirectory']}/watch" == presence.FILE
    assert unit["RuntimeDirectoryPreserve"] == "yes"  # the worker's lock is there, too
    text = (SPEC / "zypp-livepatch.spec").read_text()
    assert f"%global unit      {presence.UNIT}\n" in text and "%{_unitdir}/%{unit}\n" in text
    assert "launcher %{home}/bin/ulp ulp.cli\n" in text


def test_it_may_begin_with_what_it_needs_to_listen_and_to_patch() -> None:
    needed = {"DAC_OVERRIDE", "DAC_READ_SEARCH", "NET_ADMIN", "SETPCAP", "SYS_ADMIN", "SYS_PTRACE"}
    assert {f"CAP_{name}" for name in needed} == set(service()["CapabilityBoundingSet"].split())


def test_systemd_finds_it_well_shut_in() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=35", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
