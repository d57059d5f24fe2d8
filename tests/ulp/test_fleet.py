# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes in many processes: who is concerned, who is not, and in which words."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from host.errors import Error, ExitStatus
from tests.support.livepatches import NEW, NEWER, OLD, ten_functions
from tests.support.targets import Target, answers_library, caller, running
from ulp import builds, fleet, surgeon
from ulp.container import Container, read
from ulp.engines import Change, Settings
from ulp.fleet import Survey
from ulp.result import Outcome, Reason

NOBODY = 65534


@pytest.fixture
def targets() -> Iterator[list[Target]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(caller(answers_library()))) for _ in range(5)]


@pytest.fixture
def bystander() -> Iterator[int]:
    with subprocess.Popen(["sleep", "300"]) as child:
        yield child.pid
        child.kill()


@pytest.fixture(scope="module")
def container() -> Container:
    return read(ten_functions(200))


def apply(container: Container, pids: list[int] | None, **settings: bool) -> Survey:
    return fleet.change([Change(apply=container)], settings=Settings(**settings), pids=pids)  # type: ignore[arg-type]


def reasons(survey: Survey) -> dict[int, Reason]:
    return {result.pid: result.reason for result in survey.results}


def test_those_that_are_named(targets: list[Target], container: Container, bystander: int) -> None:
    pids = [target.pid for target in targets][::-1]
    progress: list[tuple[int, int]] = []
    survey = fleet.change(
        [Change(apply=container)], settings=Settings(), pids=[*pids, bystander],
        on_progress=lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    assert reasons(survey) == {**dict.fromkeys(pids, Reason.APPLIED), bystander: Reason.NO_SUCH_LIBRARY}
    assert [result.pid for result in survey.results] == sorted([*pids, bystander])
    assert (survey.looked_at, survey.unseen) == (6, ())
    assert progress == [(done, 6) for done in range(1, 7)]
    assert all(target.answers(10) == NEW for target in targets)
    assert all(result.container == container.path for result in survey.results)
    assert reasons(apply(container, pids)) == dict.fromkeys(pids, Reason.ALREADY_APPLIED)


def test_all_that_there_are(targets: list[Target], container: Container, bystander: int) -> None:
    survey = apply(container, None)
    found = reasons(survey)
    assert {pid for pid, reason in found.items() if reason is Reason.APPLIED} == {
        target.pid for target in targets
    }
    assert os.getpid() not in found, "this command leaves itself out"
    assert found[bystander] is Reason.NO_SUCH_LIBRARY
    assert found.get(1, Reason.PROCESS_ONE) is not Reason.APPLIED
    assert survey.looked_at == len({result.pid for result in survey.results})
    assert not [
        r for r in survey.results if r.outcome is Outcome.ERROR and r.pid in {t.pid for t in targets}
    ]
    revert = fleet.change([Change(revert=(container.patch_id,))], settings=Settings())
    assert {r.pid for r in revert.results if r.reason is Reason.REVERTED} == {
        target.pid for target in targets
    }
    assert all(target.answers(10) == OLD for target in targets)


def test_several_changes_in_order(targets: list[Target], container: Container) -> None:
    newer = read(ten_functions(300))
    pids = [target.pid for target in targets]
    changes = [Change(apply=container), Change(apply=newer, revert_target=True)]
    survey = fleet.change(changes, settings=Settings(), pids=pids)
    assert [(r.pid, r.reason) for r in survey.results] == [
        (pid, reason) for pid in sorted(pids) for reason in (Reason.APPLIED, Reason.REPLACED)
    ]
    assert all(target.answers(10) == NEWER for target in targets)


def test_a_dry_run_changes_nothing(targets: list[Target], container: Container) -> None:
    pids = [target.pid for target in targets]
    assert set(reasons(apply(container, pids, dry_run=True)).values()) == {Reason.WOULD_CHANGE}
    assert all(target.answers(10) == OLD for target in targets)


def test_who_is_gone_or_has_no_code(container: Container) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        found = reasons(apply(container, [child.pid, zombie.pid, 1]))
        assert found[child.pid] is Reason.PROCESS_GONE
        assert found[zombie.pid] is Reason.PROCESS_GONE
        assert found[1] is Reason.PROCESS_ONE
        assert reasons(
            fleet.change([Change(revert=(bytes(32),))], settings=Settings(), pids=[child.pid])
        ) == {child.pid: Reason.PROCESS_GONE}
    finally:
        zombie.wait()


def test_nobody_at_all(container: Container) -> None:
    assert apply(container, []) == Survey(results=(), looked_at=0)


def test_nothing_to_revert(targets: list[Target]) -> None:
    pids = [target.pid for target in targets]
    survey = fleet.change([Change(revert=(bytes(32),))], settings=Settings(), pids=pids)
    assert set(reasons(survey).values()) == {Reason.NOT_APPLIED}


def as_nobody(work: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        status = 2
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_another_users_processes(targets: list[Target], container: Container) -> None:
    pid = targets[0].pid
    # named, it is refused; else it is counted
    assert as_nobody(lambda: reasons(apply(container, [pid])) == {pid: Reason.NOT_PERMITTED})

    def all_of_them() -> bool:
        survey = apply(container, None)
        return pid not in reasons(survey) and len(survey.unseen) >= len(targets)

    assert as_nobody(all_of_them)
    assert targets[0].answers(10) == OLD


def surgeons() -> list[int]:
    """The children that change processes: they run this very program."""
    found = []
    own = Path("/proc/self/cmdline").read_bytes()
    for task in Path("/proc/self/task").iterdir():
        for word in (task / "children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{word}/cmdline").read_bytes() == own:
                    found.append(int(word))
    return found


def test_a_helper_that_is_killed(targets: list[Target], container: Container) -> None:
    pids = [target.pid for target in targets]

    def kill(done: int, total: int) -> None:
        for child in surgeons():
            os.kill(child, signal.SIGKILL)

    with pytest.raises(Error) as error:
        fleet.change(
            [Change(apply=container)], settings=Settings(), pids=[*pids, *[4_000_000 + n for n in range(20_000)]],
            on_progress=kill,
        )  # fmt: skip
    assert error.value.status is ExitStatus.INTERNAL and "Run the command again" in error.value.hint
    # and again it is done, whatever was left behind
    assert set(reasons(apply(container, pids)).values()) <= {Reason.APPLIED, Reason.ALREADY_APPLIED}
    assert all(target.answers(10) == NEW for target in targets)


def test_a_defect_in_one_process_is_its_own(
    targets: list[Target], container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = targets[0].pid
    ordinary = builds.read_maps

    def read_maps(pid: int) -> bytes:
        if pid == broken:
            raise ZeroDivisionError("of this test")
        return ordinary(pid)

    monkeypatch.setattr(fleet, "read_maps", read_maps)
    survey = apply(container, [target.pid for target in targets])
    found = reasons(survey)
    assert found.pop(broken) is Reason.INTERNAL
    assert set(found.values()) == {Reason.APPLIED}
    (told,) = [result for result in survey.results if result.pid == broken]
    assert "ZeroDivisionError: of this test" in told.sentence and told.outcome is Outcome.ERROR


def test_more_processes_than_surgeons(container: Container) -> None:
    count = 4 * surgeon.children_for(1000) + 3
    with ExitStack() as stack:
        crowd = [stack.enter_context(running(caller(answers_library()), "nap=5000")) for _ in range(count)]
        survey = apply(container, [target.pid for target in crowd])
        assert list(reasons(survey).values()) == [Reason.APPLIED] * count
