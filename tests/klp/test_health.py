# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klp.health import read_health


def write(root: Path, *, tainted: str = "0\n", log: bytes = b"") -> None:
    (root / "proc/sys/kernel").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/tainted").write_text(tainted)
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/kmsg").write_bytes(log)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 1 PID: 99 at fs/namei.c:1 path_get+0x1/0x2",
        "WARNING: possible recursive locking detected at x",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "BUG: unable to handle page fault for address: ffff",
        "kernel BUG at mm/slub.c:1!",
        "Oops: 0000 [#1] SMP",
        "general protection fault, probably for non-canonical address",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        "Unable to handle kernel pointer dereference in virtual kernel address space",
    ],
)
def test_trouble_is_found_in_the_log(tmp_path: Path, line: str) -> None:
    write(tmp_path, log=f"6,1,2,-;before\n4,2,3,-;{line}\n SUBSYSTEM=x\n6,3,4,-;after\n".encode())
    health = read_health(str(tmp_path))
    assert (health.is_fine, health.lines) == (False, (line,))


@pytest.mark.parametrize(
    "record",
    [
        b"12,1,2,-;BUG: written by a process\n",  # facility 1: nobody but the kernel has 0
        b"6,1,2,-;DEBUG: fine\n",
        b"6,1,2,-;livepatch: enabling patch 'livepatch_1'\n",
        b"4,1,2,-;livepatch_1: tainting kernel with TAINT_LIVEPATCH\n",
        b" BUG: a continuation\n",
        b"BUG: no record\n",
    ],
)
def test_other_lines_are_none(tmp_path: Path, record: bytes) -> None:
    write(tmp_path, log=record)
    assert read_health(str(tmp_path)).is_fine


@pytest.mark.parametrize(
    ("tainted", "flags"),
    [
        ("0\n", ""),
        ("32768\n", ""),
        ("512\n", "W"),
        ("33408\n", "DW"),
        ("16416\n", "BL"),
        ("x\n", ""),
        ("", ""),
    ],
)
def test_taint_flags(tmp_path: Path, tainted: str, flags: str) -> None:
    """A loaded live patch taints, too (K, 32768), and so do modules from outside: they do not count."""
    write(tmp_path, tainted=tainted)
    assert read_health(str(tmp_path)).flags == flags


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    health = read_health(str(tmp_path))
    assert health.is_fine
    assert health.problem == f"{tmp_path}/dev/kmsg cannot be read: No such file or directory"


def test_a_pipe_in_a_saved_tree_does_not_hang(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "dev/kmsg").unlink()
    os.mkfifo(tmp_path / "dev/kmsg")
    begin = time.monotonic()
    assert read_health(str(tmp_path)).is_fine
    assert time.monotonic() - begin < 30


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=st.binary(max_size=200), tainted=st.text("0123456789-x\n", max_size=30))
def test_anything_is_read(tmp_path: Path, log: bytes, tainted: str) -> None:
    write(tmp_path, tainted=tainted, log=log)
    assert read_health(str(tmp_path)).sentence
