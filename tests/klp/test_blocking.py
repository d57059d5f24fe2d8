# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.errors import BadDataError, NoInputError
from klp.blocking import Blocking, find_blocking
from tests.support.kernel_tree import write_patch, write_task

NOBODY = 65534


def ids(blocking: Blocking) -> list[tuple[int, int]]:
    return [(thread.pid, thread.tid) for thread in blocking.threads]


def test_nothing_blocks_without_a_transition(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1")
    write_task(tmp_path, 10, state=0)
    assert find_blocking(tmp_path) == Blocking()


@pytest.mark.parametrize(("enabled", "expected"), [(1, [(10, 10), (300, 301)]), (0, [(20, 20)])])
def test_who_is_not_where_the_transition_leads_blocks(
    tmp_path: Path, enabled: int, expected: list[tuple[int, int]]
) -> None:
    write_patch(tmp_path, "livepatch_1")
    write_patch(tmp_path, "livepatch_2", enabled=enabled, transition=1)
    write_task(tmp_path, 10, state=0, name="a b")
    write_task(tmp_path, 20, state=1)
    write_task(tmp_path, 300, state=-1)
    write_task(tmp_path, 300, 301, state=0)
    (tmp_path / "proc/self").symlink_to("10")
    (tmp_path / "proc/cpuinfo").touch()
    blocking = find_blocking(tmp_path)
    assert (blocking.patch, blocking.unpatching) == ("livepatch_2", enabled == 0)
    assert ids(blocking) == expected
    assert all((thread.command, thread.stack, thread.state) == ((), (), "") for thread in blocking.threads)
    assert blocking.looked_at == 4


def test_command_lines_and_stacks_are_read_on_request(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=1)
    write_task(
        tmp_path, 10, state=0, command=b"vfork\0--for ever\0", stack="[<0>] a+0x1/0x2\n[<0>] b+0x1/0x2\n"
    )
    write_task(tmp_path, 11, state=0, name="kworker/0:1")
    first, second = find_blocking(tmp_path, commands=True, stacks=True).threads
    assert first.command == ("vfork", "--for ever")
    assert first.stack == ("[<0>] a+0x1/0x2", "[<0>] b+0x1/0x2")
    assert (second.name, second.command, second.stack) == ("kworker/0:1", (), ())
    assert [thread.name for thread in find_blocking(tmp_path, names=False).threads] == ["", ""]


def test_tasks_that_exit_or_tell_nonsense_hide_nobody_else(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=1)
    (write_task(tmp_path, 10, state=0) / "patch_state").unlink()
    (tmp_path / "proc/11").mkdir()
    write_task(tmp_path, 12, state="what")
    write_task(tmp_path, 13, state=0)
    blocking = find_blocking(tmp_path)
    assert ids(blocking) == [(13, 13)]
    assert ["12/task/12/patch_state" in problem for problem in blocking.problems] == [True]


def test_two_transitions_at_once_cannot_be(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_patch(tmp_path, name, transition=1)
    with pytest.raises(BadDataError, match="a b"):
        find_blocking(tmp_path)


def test_a_transition_without_processes_is_no_answer(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=1)
    with pytest.raises(NoInputError, match="proc shows no processes"):
        find_blocking(tmp_path)


def test_threads_that_may_not_be_looked_at_are_counted(open_root: Path) -> None:
    write_patch(open_root, "livepatch_1", transition=1)
    (write_task(open_root, 10, state=0) / "patch_state").chmod(0)
    write_task(open_root, 11, state=0)
    write_task(open_root, 12, state=0)
    (open_root / "proc/12/task").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        blocking = find_blocking(open_root)
    finally:
        os.seteuid(os.getuid())
        (open_root / "proc/12/task").chmod(0o755)
    assert ids(blocking) == [(11, 11)]
    assert blocking.hidden == 2


def test_five_thousand_tasks(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=1)
    for pid in range(1, 501):
        for thread in range(10):
            write_task(tmp_path, pid * 10, pid * 10 + thread, state=int(thread > 0))
    blocking = find_blocking(tmp_path, commands=True, stacks=True)
    assert ids(blocking) == [(pid * 10, pid * 10) for pid in range(1, 501)]
    assert (blocking.looked_at, blocking.threads[0].state) == (5000, "S")
