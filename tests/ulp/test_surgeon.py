# SPDX-License-Identifier: GPL-2.0-or-later
"""Surgeons work apart from the command: they answer, they may die, they finish what they began."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.users import ordinary_user
from ulp import surgeon


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_answers_arrive_for_every_number() -> None:
    pids = list(range(1, 60))
    assert sorted(surgeon.operate(pids, lambda pid: pid * 2)) == [(pid, pid * 2) for pid in pids]


def test_nothing_to_do() -> None:
    assert list(surgeon.operate([], lambda pid: pid)) == []


def test_more_numbers_than_a_pipe_holds() -> None:
    pids = list(range(50_000))
    begin = time.monotonic()
    assert sorted(surgeon.operate(pids, lambda pid: None)) == [(pid, None) for pid in pids]
    assert time.monotonic() - begin < 30


def test_answers_longer_than_a_pipe_holds() -> None:
    answers = dict(surgeon.operate(range(20), lambda pid: bytes([pid]) * 300_000))
    assert answers == {pid: bytes([pid]) * 300_000 for pid in range(20)}


@pytest.mark.parametrize(("count", "most"), [(0, 1), (1, 1), (7, 1), (8, 2), (10_000, 16)])
def test_number_of_children(count: int, most: int) -> None:
    assert 1 <= surgeon.children_for(count) <= min(most, max(os.cpu_count() or 1, 1))


def test_work_happens_in_another_session_that_ignores_the_terminal() -> None:
    def look(pid: int) -> tuple[int, int, list[bool], bool]:
        ignored = [
            signal.getsignal(number) == signal.SIG_IGN
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
        ]
        return os.getpid(), os.getsid(0), ignored, surgeon.abandoned()

    ((_, (child, session, ignored, abandoned)),) = surgeon.operate([5], look)
    assert child != os.getpid() and session == child
    assert all(ignored) and not abandoned
    assert not surgeon.abandoned(), "nobody operates in this process"


def test_everything_is_cleaned_up() -> None:
    before = set(os.listdir("/proc/self/fd"))
    children = [answer for _, answer in surgeon.operate(range(16), lambda pid: os.getpid())]
    assert set(os.listdir("/proc/self/fd")) == before
    assert all(is_gone(child) for child in children)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_surgeon_that_is_killed_is_said_to_be() -> None:
    def work(pid: int) -> int:
        if pid == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return pid

    found = []
    with pytest.raises(surgeon.SurgeonDied):
        for pid, _ in surgeon.operate([1, 2, 3], work):
            found.append(pid)
    assert found == [1, 2]


def test_the_others_go_on_when_one_is_killed() -> None:
    if surgeon.children_for(100) < 2:
        pytest.skip("one processor, one surgeon")

    def work(pid: int) -> int:
        if pid == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.001)
        return pid

    found = []
    with pytest.raises(surgeon.SurgeonDied):
        for pid, _ in surgeon.operate(range(100), work):
            found.append(pid)
    assert sorted(found) == list(range(1, 100))


def test_fewer_children_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one cannot be had: the first one does all."""
    forks = iter([os.fork])

    def fork() -> int:
        for real in forks:
            return real()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(surgeon, "children_for", lambda _: 3)
    monkeypatch.setattr(os, "fork", fork)
    assert dict(surgeon.operate(range(9), str)) == {number: str(number) for number in range(9)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_no_child_at_all() -> None:
    code = "from ulp import surgeon\nlist(surgeon.operate([1], str))"
    done = subprocess.run(
        [*ordinary_user(), "prlimit", "--nproc=1", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        "host.errors.Error: no process can be started to work in: Resource temporarily unavailable"
    )


def test_when_all_are_killed_nobody_waits() -> None:
    with pytest.raises(surgeon.SurgeonDied):
        list(surgeon.operate(range(100_000), lambda pid: os.kill(os.getpid(), signal.SIGKILL)))


def test_an_answer_that_is_cut_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def write_half_and_die(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def work(pid: int) -> bytes:
        monkeypatch.setattr(os, "write", write_half_and_die)  # in the child
        return bytes(1000)

    with pytest.raises(surgeon.SurgeonDied):
        assert list(surgeon.operate([1], work)) == []


def test_whoever_stops_listening_waits_for_what_is_begun_only(tmp_path: Path) -> None:
    def work(pid: int) -> int:
        (tmp_path / f"begun{pid}").touch()
        time.sleep({0: 0.0, 1: 0.5}.get(pid, 0.01))
        (tmp_path / f"done{pid}").touch()
        return pid

    operation = surgeon.operate(range(200), work)
    next(operation)
    until((tmp_path / "begun1").exists, "the long one does not begin")
    before = len(list(tmp_path.glob("begun*")))
    operation.close()  # type: ignore[attr-defined]
    begun = {path.name.removeprefix("begun") for path in tmp_path.glob("begun*")}
    assert begun == {path.name.removeprefix("done") for path in tmp_path.glob("done*")}
    assert len(begun) <= before + surgeon.children_for(200)


COMMAND = """
import os, sys, time
from pathlib import Path
from ulp import surgeon
place = Path(sys.argv[1])
def work(pid):
    (place / f"begun{pid}").write_text(str(os.getpid()))
    while not (place / "go").exists():
        time.sleep(0.005)
    (place / f"done{pid}").touch()
    return pid
try:
    for pid, _ in surgeon.operate([1, 2, 3], work):
        print(pid, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("group", [False, True], ids=["alone", "with-its-group"])
def test_a_command_that_is_killed_lets_its_surgeon_finish(tmp_path: Path, number: int, group: bool) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], start_new_session=True, stdout=subprocess.PIPE
    )
    try:
        until(lambda: (tmp_path / "begun1").exists() and (tmp_path / "begun1").read_text() != "", "no work")
        child = int((tmp_path / "begun1").read_text())
        (os.killpg if group else os.kill)(command.pid, number)
        if number != signal.SIGINT:
            command.wait(20)
        time.sleep(0.05)
        assert not is_gone(child), "the surgeon was at work and must finish it"
        (tmp_path / "go").touch()
        until(lambda: is_gone(child), "the surgeon does not end")
        assert (tmp_path / "done1").exists() and not (tmp_path / "begun2").exists()
        output, _ = command.communicate(timeout=20)
        assert output == (b"interrupted\n" if number == signal.SIGINT else b"")
    finally:
        (tmp_path / "go").touch()
        command.kill()
        command.wait()
