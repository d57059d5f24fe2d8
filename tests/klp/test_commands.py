# SPDX-License-Identifier: GPL-2.0-or-later
"""The program klp as its users run it: status, check, and what all commands have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from klp.cli import COMMANDS
from tests.support.kernel_tree import write_patch
from tests.support.klp import KLP, klp


@pytest.mark.parametrize("arguments", [("status",), ("-v", "status"), ("status", "-vv")])
def test_status(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    patch = write_patch(tmp_path, "livepatch_1")
    done = klp(*arguments, root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    (patch / "transition").write_text("1\n")
    done = klp(*arguments, root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in_progress\n", "")


def test_check(tmp_path: Path) -> None:
    patch = write_patch(tmp_path, "livepatch_1")
    done = klp("check", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (patch / "transition").write_text("1\n")
    done = klp("check", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("command", ["status", "check"])
def test_what_cannot_be_told_is_not_called_ready(tmp_path: Path, command: str) -> None:
    write_patch(tmp_path, "livepatch_1", transition="\x1b[2J")
    done = klp(command, root=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert "livepatch_1/transition should hold a number" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("transition", "status", "check"),
    [("0", (0, "ready\n"), 0), ("1", (0, "in_progress\n"), 1), ("?", (65, ""), 65)],
)
def test_the_short_way_in_a_namespace_with_live_patches(
    tmp_path: Path, transition: str, status: tuple[int, str], check: int
) -> None:
    write_patch(tmp_path, "livepatch_1", transition=transition)

    def in_namespace(command: str) -> tuple[int, str]:
        script = 'mount --bind "$1" /sys && exec "$2" "$3"'
        unshare = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
        words = [*unshare, "sh", "-c", script, "sh", str(tmp_path / "sys"), str(KLP), command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout

    assert in_namespace("status") == status
    assert in_namespace("check") == (check, "")


@pytest.mark.parametrize("command", ["status", "check"])
def test_the_short_way_answers_as_the_long_way_does(command: str) -> None:
    short, long = klp(command), klp(command, root=Path("/"))
    assert (short.returncode, short.stdout, short.stderr) == (long.returncode, long.stdout, long.stderr)


@pytest.mark.parametrize("command", ["status", "check"])
def test_the_short_way_imports_nothing_slow(command: str) -> None:
    script = f"import sys; sys.argv[1:] = ['{command}']; import klp.cli; klp.cli.main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    slow = {"argparse", "enum", "dataclasses", "pathlib", "typing", "json", "re", "subprocess", "rpm"}
    assert slow & set(done.stdout.splitlines()[-1].split()) == set()


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([KLP, "status"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 73
    assert "standard output cannot be written" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_root_that_is_not_there_is_refused(tmp_path: Path, command: str) -> None:
    more = {"cve": ["CVE-2025-12345"], "downgrade": ["--dry-run"]}.get(command, [])
    done = klp(command, *more, root=tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (66, "")
    assert "is not a directory" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("poke",), ("status", "extra"), ("status", "--no-such")])
def test_other_words_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    done = klp(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert "Traceback" not in done.stderr
