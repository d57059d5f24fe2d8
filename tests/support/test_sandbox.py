# SPDX-License-Identifier: GPL-2.0-or-later
"""The sandbox is apart from the machine, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.sandbox import PROJECT, sandbox


def mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def test_real_zypper_installs_into_the_sandbox_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = mounts()
    (tmp_path / "text").write_text("hello")
    with sandbox() as machine:
        assert machine.run("rpm", "-q", "glibc").output == "glibc-2.38-1.noarch\n"
        machine.add_packages(rpms.Spec(name="foo", version="3", files={"/opt/foo/text": tmp_path / "text"}))
        machine.zypper("install", "foo")
        assert machine.run("rpm", "-q", "foo").output == "foo-3-1.noarch\n"
        assert (machine.root / "opt/foo/text").read_text() == "hello"
        assert not Path("/opt/foo").exists()
        assert (
            machine.run("sh", "-c", f"ls -d /proc/{os.getpid()}").status == 0
        )  # the machine's processes are seen
        assert machine.zypper("install", "nothing-of-this-name", check=False).status == 104
        with pytest.raises(AssertionError, match="ended with 3"):
            machine.run("sh", "-c", "exit 3")
        assert mounts() == before
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_private_sandbox_has_its_own_processes() -> None:
    with sandbox(private=True) as machine:
        seen = machine.run("sh", "-c", "cd /proc && ls -d [0-9]*").output.split()
        assert "1" in seen
        assert len(seen) < 6
        left = subprocess.Popen(machine.argv(["sleep", "600"]))
    assert left.wait(10) != 0  # it ended with the sandbox


CODE = """
import time
from tests.support.sandbox import sandbox
with sandbox() as made:
    print(made.root, flush=True)
    time.sleep(600)
"""


def test_nothing_stays_of_a_test_that_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    root = Path(process.stdout.readline().strip())
    assert (root / "var/lib/rpm").is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 10
    while root.parent.exists():  # the process that holds the namespace
        assert time.monotonic() < end
        time.sleep(0.02)
