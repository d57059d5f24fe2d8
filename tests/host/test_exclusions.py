# SPDX-License-Identifier: GPL-2.0-or-later
"""What the administrator leaves out: files that say so, and processes that are meant."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host import exclusions
from host.config import ConfigError
from host.errors import Error
from tests.support import cgroups, rpmroot, rpms
from tests.support.users import NOBODY


def rules(root: Path, **texts: str) -> exclusions.Exclusions:
    for name, text in texts.items():
        file = root / exclusions.DIRECTORY / f"{name}.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return exclusions.load(root=str(root))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of an ordinary user, of a program of its own."""
    tmp_path.chmod(0o755)
    with open(shutil.copy("/usr/bin/sleep", tmp_path / "a program")) as program:
        process = subprocess.Popen(
            [*NOBODY, f"/proc/self/fd/{program.fileno()}", "60"], pass_fds=[program.fileno()]
        )
        while os.readlink(f"/proc/{process.pid}/exe") != program.name:
            assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def test_without_files_nobody_is_left_out(tmp_path: Path) -> None:
    assert exclusions.load(root=str(tmp_path)) == exclusions.Exclusions()
    assert exclusions.Exclusions().process(os.getpid()) == ""


@pytest.mark.parametrize("kind", ["exact", "pattern", "name", "number", "deleted"])
def test_by_program_and_user(tmp_path: Path, sleeper: subprocess.Popen[bytes], kind: str) -> None:
    line = {
        "exact": f"path = {tmp_path}/a program",
        "deleted": f"path={tmp_path}/a program",
        "pattern": "path = */a pro*",
        "name": f"user = {pwd.getpwuid(65534).pw_name}",
        "number": "  user  =  65534  ",
    }[kind]
    if kind == "deleted":
        (tmp_path / "a program").unlink()
    found = rules(tmp_path, one="# a comment\n\n", two=f"; and another\nunit = no.service\n{line}\n")
    why = found.process(sleeper.pid)
    assert why.startswith(f"left out by {tmp_path}/etc/zypp-livepatch/exclude.d/two.conf, line 3: ")
    assert found.process(os.getpid()) == ""
    sleeper.kill()
    sleeper.wait()
    assert found.process(sleeper.pid) == ""  # gone


def test_by_unit(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    found = rules(tmp_path, a="unit = zlp-*.service")
    with cgroups.unit(f"zlp-{os.getpid()}.service") as group:
        assert found.process(sleeper.pid) == ""
        (group / "cgroup.procs").write_text(str(sleeper.pid))
        assert found.process(sleeper.pid).endswith("a.conf, line 1: unit = zlp-*.service")


def test_by_package(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    root = rpmroot.create(tmp_path / "root")
    spec = rpms.Spec(name="some-program", files={f"{tmp_path}/a program": Path("/usr/bin/sleep")})
    [built] = rpms.build([spec], into=tmp_path / "out", work=tmp_path / "build")
    words = ["rpm", f"--root={root}", "--install", "--justdb", "--nodeps", str(built)]
    subprocess.run(words, check=True, capture_output=True)
    found = rules(root, a="package = some-*\n")
    assert found.process(sleeper.pid).endswith("line 1: package = some-*")
    assert found.process(os.getpid()) == ""
    assert found.package("some-livepatches") and not found.package("other-livepatches")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nginx", "line 1: 'nginx' is no rule"),
        ("# fine\nexecutable = /bin/sh", "line 2: 'executable = /bin/sh' is no rule"),
        ("path =", "line 1: path = '' is no pattern"),
        ("path = bin/sh", "line 1: path = 'bin/sh' is no absolute path"),
        ("[exclude]", "line 1: '[exclude]' is no rule"),
        ("user = a\x00b", "is no pattern"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        rules(tmp_path, a=text)
    assert (
        why in raised.value.sentence
        and f"{tmp_path}/etc/zypp-livepatch/exclude.d/a.conf" in raised.value.sentence
    )
    assert "correct it or delete it" in raised.value.hint


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / exclusions.DIRECTORY / "a.conf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"user = \xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        exclusions.load(root=str(tmp_path))


def test_files_of_the_vendor_can_be_hidden(tmp_path: Path) -> None:
    vendor = tmp_path / "usr/etc/zypp-livepatch/exclude.d/a.conf"
    vendor.parent.mkdir(parents=True)
    vendor.write_text("user = 1\n")
    assert len(exclusions.load(root=str(tmp_path)).rules) == 1
    hiding = tmp_path / exclusions.DIRECTORY / "a.conf"
    hiding.parent.mkdir(parents=True)
    hiding.symlink_to("/dev/null")
    assert exclusions.load(root=str(tmp_path)).rules == ()


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_rules_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "exclusions"
    file = root / exclusions.DIRECTORY / "a.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        found = exclusions.load(root=str(root))
    except Error as error:
        assert error.sentence
    else:
        assert all(rule.pattern for rule in found.rules)
