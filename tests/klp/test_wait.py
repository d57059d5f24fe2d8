# SPDX-License-Identifier: GPL-2.0-or-later
"""klp wait, on trees that change while it waits."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.documentation import contradictions
from tests.support.kernel_tree import write_patch, write_task
from tests.support.klp import KLP, klp

PATIENCE = 60.0  # seconds that a test waits for what has to come
CLOCK_NANOSLEEP = {"x86_64": 230, "aarch64": 115}[os.uname().machine]  # what time.sleep() calls


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A transition that two of three threads block."""
    write_patch(tmp_path, "livepatch_1", transition=1)
    write_task(tmp_path, 9, state=1)
    write_task(tmp_path, 10, state=0, command=b"sleep\x0060", stack="[<0>] meminfo_proc_show+0x1/0x2\n")
    write_task(tmp_path, 11, state=0, command=b"other")
    return tmp_path


def begin(root: Path, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start klp wait; what it does not see at once, it waits for."""
    command = [str(KLP), "wait", "--root", str(root), *arguments]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
    )


def seen_waiting(process: subprocess.Popen[str]) -> None:
    """Return when the process sleeps between two looks, after it has looked at least once."""
    deadline = time.monotonic() + PATIENCE
    looks = 0
    while looks < 2:
        assert process.poll() is None and time.monotonic() < deadline
        call = Path(f"/proc/{process.pid}/syscall").read_text().split()[0]
        looks = looks + 1 if call == str(CLOCK_NANOSLEEP) else 0
        time.sleep(0.01)


def sleeps(process: subprocess.Popen[str]) -> int:
    """Return how often the process has gone to sleep."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def seen_once_more(process: subprocess.Popen[str]) -> None:
    """Return when the waiting process has looked at what is there now."""
    before, deadline = sleeps(process), time.monotonic() + PATIENCE
    while sleeps(process) < before + 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def test_nothing_to_wait_for(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1")
    done = klp("wait", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_end_of_a_transition(tree: Path) -> None:
    process = begin(tree)
    seen_waiting(process)
    (tree / "sys/kernel/livepatch/livepatch_1/transition").write_text("0\n")
    status, out, err = end(process)
    assert (status, err) == (0, "")
    assert out.startswith("livepatch_1 is in effect, after ")


def test_a_live_patch_that_vanishes_is_out_of_use(tree: Path) -> None:
    process = begin(tree)
    seen_waiting(process)
    (tree / "sys/kernel/livepatch/livepatch_1").rename(tree / "away")
    status, out, _ = end(process)
    assert (status, out.partition(",")[0]) == (0, "livepatch_1 is out of use")


def test_one_transition_after_the_other(tree: Path) -> None:
    write_patch(tree, "livepatch_2")
    process = begin(tree)
    seen_waiting(process)
    (tree / "sys/kernel/livepatch/livepatch_2/transition").write_text("1\n")
    (tree / "sys/kernel/livepatch/livepatch_1/transition").write_text("0\n")
    seen_once_more(process)
    (tree / "sys/kernel/livepatch/livepatch_2/transition").write_text("0\n")
    status, out, _ = end(process)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["livepatch_1", "livepatch_2"]


@pytest.mark.parametrize("timeout", ["0", "0.3"])
def test_when_time_is_up_those_who_block_are_listed(tree: Path, timeout: str) -> None:
    done = klp("wait", "--timeout", timeout, root=tree)
    assert (done.returncode, done.stdout) == (1, "10 10 sleep 60\n11 11 other\n")
    sentence, hint = done.stderr.splitlines()
    assert sentence.startswith("klp: livepatch_1 is still in transition after 0.")
    assert sentence.endswith(" s: 2 threads block it")
    assert hint == "hint: 'klp blocking -vv' says what they do and what helps"


def test_when_time_is_up_more_can_be_told_of_them(tree: Path) -> None:
    done = klp("wait", "-v", "--timeout=0", root=tree)
    assert done.stdout.splitlines()[:3] == [
        "10 10 sleep 60",
        "    [<0>] meminfo_proc_show+0x1/0x2",
        "    it is in meminfo_proc_show, which livepatch_1 replaces",
    ]


def test_the_tasks_that_are_left_are_shown_to_a_person(tree: Path) -> None:
    main, other = pty.openpty()
    try:
        process = begin(tree, stderr=other)
        os.close(other)
        shown = b""
        while b"2 tasks left" not in shown:
            shown += os.read(main, 65536)
        shutil.rmtree(tree / "proc/11")
        while b"1 task left" not in shown:
            shown += os.read(main, 65536)
        assert b"1/3" in shown and b"1/2" in shown
        (tree / "sys/kernel/livepatch/livepatch_1/transition").write_text("0\n")
        assert end(process)[:2][0] == 0
    finally:
        process.kill()
        os.close(main)


def test_what_cannot_be_told_is_not_waited_for(tree: Path) -> None:
    (tree / "sys/kernel/livepatch/livepatch_1/transition").write_text("?\n")
    done = klp("wait", root=tree)
    assert (done.returncode, done.stdout) == (65, "")


def test_control_c(tree: Path) -> None:
    process = begin(tree)
    seen_waiting(process)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "", "klp: interrupted\n")


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(tree: Path, value: str) -> None:
    assert klp("wait", f"--timeout={value}", root=tree).returncode == 64


def test_as_json(tree: Path) -> None:
    done = klp("wait", "--json", "--timeout=0", root=tree)
    assert (done.returncode, done.stderr) == (1, "")
    answer = json.loads(done.stdout)
    assert contradictions(answer) == []
    assert (answer["state"], answer["patches"]) == (
        "in_progress",
        [{"name": "livepatch_1", "enabled": True}],
    )
    assert [thread["pid"] for thread in answer["blocking"]["threads"]] == [10, 11]
    (tree / "sys/kernel/livepatch/livepatch_1/transition").write_text("0\n")
    done = klp("wait", "--json", root=tree)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["state"], answer["blocking"]) == (0, "ready", None)
