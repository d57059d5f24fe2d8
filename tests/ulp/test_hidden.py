# SPDX-License-Identifier: GPL-2.0-or-later
"""Who counts as a process that could not be looked at, and who can be looked at in whatever state it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host import procfs
from tests.support.livepatches import changes_and_changes_back, ten_functions, trigger, ulp
from tests.support.sandbox import PROJECT
from tests.support.targets import answers_library, caller, compiled, held, running
from tests.support.users import NOBODY, ordinary_user
from ulp.hidden import Hidden, hidden, names
from ulp.holdings import applied

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
WITHOUT_PTRACE = ("setpriv", "--bounding-set=-sys_ptrace")
VFORK = """
#include <sched.h>
#include <stdio.h>
#include <unistd.h>
int main(void) { if (!vfork()) { puts("ready"); fflush(stdout); for (;;) pause(); } }
"""


def library_of(pid: int) -> str:
    """Look at a process as the commands do; returns its C library."""
    [holding], unseen = applied(pids=[pid], libraries=True)
    assert unseen == ()
    return next(path for path, _ in holding.libraries if "libc" in path)


def test_what_has_no_memory_of_its_own_is_not_missed() -> None:
    threads = [pid for pid in procfs.pids() if procfs.is_kernel_thread(pid)][:3]
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        gone = 99999999
        assert [hidden(pid) for pid in (*threads, zombie.pid, gone)] == [None] * (len(threads) + 2)
        assert applied(pids=[*threads, zombie.pid, gone]) == ((), ())
        if os.geteuid() == 0:  # the kernel refuses another user's zombie, which has nothing to be seen
            asked = (
                f"from ulp.holdings import applied; print(applied(pids=[{zombie.pid}, {os.getpid()}])[1])"
            )
            words = [*ordinary_user(), sys.executable, "-c", asked]
            done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
            assert done.stdout.startswith(f"(Hidden(pid={os.getpid()}, ")


@needs_root
def test_root_is_told_who_and_why() -> None:
    library = answers_library(name=f"libhidden{os.getpid()}.so.0")
    container = ten_functions(200, library=library)
    with running(caller(library), wrapper=NOBODY) as target, running(caller(library)) as other:
        trigger(target, container)
        said = ulp("status", "--json", container, prefix=WITHOUT_PTRACE)
        document = json.loads(said.stdout)
        for pid in (target.pid, other.pid):  # the latter's memory map can be read by who has CAP_PERFMON
            assert {"pid": pid, "name": "caller"} in document["hidden"]
        assert document["counts"]["unseen"] == len(document["hidden"])
        said = ulp("check", container, prefix=WITHOUT_PTRACE)
        assert re.search(
            r"ulp: \d+ processes could not be looked at, this root lacks CAP_SYS_PTRACE: \S+ \(\d+\)",
            said.stdout,
        )
        assert ulp("check", "-p", str(target.pid), container).status == 0


def test_some_are_named() -> None:
    many = [Hidden(pid, "x") for pid in range(7)]
    assert names(many) == "x (0), x (1), x (2), x (3), x (4) and 2 more"


def test_a_process_that_a_debugger_holds_can_be_looked_at() -> None:
    with running(caller(answers_library())) as target, held(target.pid):
        assert library_of(target.pid)
        assert trigger(target, ten_functions(200)).verdict == ("ERROR", "already-traced")


@pytest.fixture(name="parent")
def _parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process in the state D: it waits for the child that it made by vfork(2)."""
    with subprocess.Popen([compiled(VFORK, name="vforker")], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            yield process
        finally:
            for pid in _children(process.pid):
                os.kill(pid, 9)
            process.kill()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_process_that_cannot_be_interrupted_and_its_vfork_child(parent: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while (state := procfs.task_state(parent.pid, parent.pid)) is None or state.state != "D":
        assert time.monotonic() < end
    [child] = _children(parent.pid)
    assert library_of(parent.pid) == library_of(child)


@needs_root
def test_a_file_system_that_is_gone(tmp_path: Path) -> None:
    """Its library lies on a file system that nobody can reach by a path any more."""
    library = answers_library("-DOTHER=55", name="libgone.so.0")
    script = f"""
cp {library} {tmp_path}
mount -t tmpfs none {library.parent}
cp {tmp_path}/{library.name} {library.parent}
exec "$@" """
    wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    with running(caller(library), wrapper=wrapper) as target:
        umount = ["umount", "--lazy", str(library.parent)]
        subprocess.run(["nsenter", f"--target={target.pid}", "--mount", *umount], check=True)
        assert str(library) not in target.maps() and "/libgone.so.0" in target.maps()
        assert library_of(target.pid)
        changes_and_changes_back(target, ten_functions(200, library=library))
