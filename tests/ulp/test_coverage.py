# SPDX-License-Identifier: GPL-2.0-or-later
"""Who runs the fix: records of processes held against the live patches there are."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.support.targets import answers_library, caller, running
from tests.support.users import NOBODY
from ulp.container import Container
from ulp.coverage import Judge, LivePatch, Question, Row, State, fixes, live_patches
from ulp.engines import Applied
from ulp.holdings import Holding

A, B, OLD, NEW = (bytes([number]) * 20 for number in (0xA, 0xB, 0x1, 0x2))  # builds
LIBC = "/usr/lib64/libc.so.6"


def container(number: int, *labels: str, build: bytes = A, target: str = "libc.so.6") -> Container:
    return Container(
        patch_id=identity(number, build),
        target_name=target,
        build_id=build,
        units=(),
        references=(),
        dependencies=(),
        comments=" ".join(labels),
        path=path(number),
        image=b"",
    )


def identity(number: int, build: bytes = A) -> bytes:
    return bytes([number]) * 12 + build


def path(number: int) -> str:
    return f"/usr/lib64/glibc-livepatches/0.1/libc_livepatch{number}.so"


def applied(number: int, *labels: str, build: bytes = A, functions: Sequence[str] = ("f",)) -> Applied:
    return Applied(
        patch_id=identity(number, build),
        container=path(number),
        library=LIBC,
        build_id=build,
        functions=tuple(functions),
        labels=labels,
        time=0.0,
        engine="direct",
    )


def process(
    *patches: Applied,
    pid: int = 10,
    libraries: Sequence[tuple[str, bytes]] = ((LIBC, A),),
    problem: str = "",
) -> Holding:
    return Holding(
        pid=pid,
        name="daemon",
        patches=patches,
        has_libpulp=False,
        libraries=tuple((path, build.hex()) for path, build in libraries),
        problem=problem,
    )


def judge(
    containers: Sequence[Container], *holdings: Holding, label: str = "", library: str = ""
) -> tuple[Row, ...]:
    question = Question(label=label, library=library)
    patches = live_patches(containers, holdings)
    return Judge(patches, fixes(patches, question), question).rows(holdings)


def state(containers: Sequence[Container], holding: Holding, *, label: str = "") -> tuple[State, str]:
    (row,) = judge(containers, holding, label=label)
    return row.state, row.detail


ONE, TWO, TEN = container(1, "CVE-1-1"), container(2, "CVE-1-1 CVE-1-2"), container(10, "CVE-1-1 CVE-1-3")


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], (State.UNPATCHED, "")),
        ([applied(10)], (State.PATCHED, "")),
        ([applied(2)], (State.OUTDATED, "lacks CVE-1-3")),
        ([applied(1), applied(2)], (State.OUTDATED, "lacks CVE-1-3")),
        ([applied(1), applied(10)], (State.PATCHED, "")),
        ([applied(11)], (State.PATCHED, "")),
        (
            [applied(10), applied(2)],
            (State.OUTDATED, "libc_livepatch2.so was applied over libc_livepatch10.so"),
        ),
        ([applied(10), applied(2, functions=["g"])], (State.PATCHED, "")),
        (
            [applied(10), applied(2, functions=[])],
            (State.OUTDATED, "libc_livepatch2.so was applied over libc_livepatch10.so"),
        ),
        ([applied(10), applied(2), applied(10)], (State.PATCHED, "")),
    ],
)
def test_the_newest_live_patch_is_the_fix(held: list[Applied], expected: tuple[State, str]) -> None:
    assert state([TWO, TEN, ONE], process(*held)) == expected


@pytest.mark.parametrize(
    ("held", "label", "expected"),
    [
        ([applied(1)], "CVE-1-1", State.PATCHED),
        ([applied(1)], "CVE-1-2", State.OUTDATED),
        ([applied(2)], "CVE-1-2", State.PATCHED),
        ([applied(10)], "CVE-1-2", State.OUTDATED),  # whoever took that fix out again
        ([applied(2), applied(10)], "CVE-1-2", State.OUTDATED),
        ([applied(2), applied(10)], "CVE-1-1", State.PATCHED),
        ([], "CVE-1-3", State.UNPATCHED),
    ],
)
def test_with_a_cve_it_is_enough_to_run_a_live_patch_that_names_it(
    held: list[Applied], label: str, expected: State
) -> None:
    assert state([ONE, TWO, TEN], process(*held), label=label)[0] is expected


def test_labels_of_a_file_count_more_than_what_a_process_says() -> None:
    assert state([ONE], process(applied(1, "CVE-9-9")), label="CVE-1-1")[0] is State.PATCHED
    assert state([ONE, container(3, "CVE-9-9")], process(applied(1, "CVE-9-9")), label="CVE-9-9") == (
        State.OUTDATED,
        "lacks CVE-9-9",
    )


def test_each_build_has_its_own_fix() -> None:
    newer = container(1, "CVE-1-3", build=B)
    rows = judge([ONE, TEN, newer], process(), process(pid=11, libraries=[(LIBC, B)]))
    assert [(row.pid, row.fix.path if row.fix else "") for row in rows] == [(10, path(10)), (11, path(1))]
    (row,) = judge([ONE, newer], process(libraries=[(LIBC, B)]), label="CVE-1-1")
    assert (row.state, row.counts) == (State.OTHER_BUILD, False)
    assert row.detail == f"none of the live patches for its build {B.hex()} names CVE-1-1"


def test_builds_without_a_live_patch() -> None:
    gone = f"{LIBC} (deleted)"
    libraries = [(LIBC, NEW), (gone, OLD), ("/usr/lib64/libz.so.1 (deleted)", B)]
    on_disk, deleted = judge([ONE], process(libraries=libraries))
    assert (on_disk.state, on_disk.counts) == (State.OTHER_BUILD, False)
    assert (deleted.state, deleted.counts, deleted.base) == (State.NO_LIVE_PATCH, True, "libc.so.6")
    assert OLD.hex() in deleted.detail


def test_a_deleted_library_with_a_live_patch_needs_it_as_any_other() -> None:
    assert state([ONE], process(libraries=[(f"{LIBC} (deleted)", A)])) == (State.UNPATCHED, "")


def test_a_library_whose_file_has_another_name() -> None:
    libraries = [("/lib64/libc-2.31.so", A), ("/old/libc-2.31.so (deleted)", OLD)]
    assert [row.state for row in judge([ONE], process(libraries=libraries))] == [
        State.UNPATCHED,
        State.NO_LIVE_PATCH,
    ]


def test_only_the_library_that_is_asked_for() -> None:
    other = container(7, build=B, target="libcrypto.so.3")
    holding = process(libraries=[(LIBC, A), ("/usr/lib64/libcrypto.so.3", B)])
    assert [row.base for row in judge([ONE, other], holding)] == ["libc.so.6", "libcrypto.so.3"]
    for pattern in ("libc.so.6", "libc.*"):
        assert [row.base for row in judge([ONE, other], holding, library=pattern)] == ["libc.so.6"]
    assert judge([ONE, other], holding, library="LIBC.so.6") == ()


def test_what_cannot_be_read_is_not_called_patched() -> None:
    assert state([ONE], process(problem="a record is damaged")) == (State.UNKNOWN, "a record is damaged")


def test_a_live_patch_whose_file_is_gone() -> None:
    """Its package was removed; who holds it keeps the fix, the others cannot get it."""
    holder, other = process(applied(3, "CVE-1-1"), pid=os.getpid()), process(pid=os.getppid())
    rows = {row.pid: row for row in judge([], holder, other)}
    assert rows[holder.pid].state is State.PATCHED
    without = rows[other.pid]
    assert (without.state, without.is_open) == (State.UNPATCHED, False)
    assert without.detail == "libc_livepatch3.so is in use elsewhere, but not installed"
    # one that can be installed is the better advice, even if it is older
    rows = {row.pid: row for row in judge([TWO], holder, other)}
    assert [rows[pid].state for pid in (holder.pid, other.pid)] == [State.PATCHED, State.UNPATCHED]
    assert rows[other.pid].fix == LivePatch(
        path(2), identity(2), "libc.so.6", A, ("CVE-1-1", "CVE-1-2"), TWO
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_what_another_users_process_claims_concerns_nobody_else() -> None:
    with running(caller(answers_library()), wrapper=NOBODY) as liar:
        claim = process(applied(99, "CVE-6-6"), pid=liar.pid)
        assert live_patches([], [claim]) == ()
        assert [row.state for row in judge([ONE], claim, process())] == [State.UNPATCHED, State.PATCHED]


def test_rows_come_by_pid_and_library() -> None:
    holding = process(libraries=[("/b/libc.so.6", A), ("/a/libc.so.6", B)])
    rows = judge([ONE, container(1, build=B)], process(pid=12), holding)
    assert [(row.pid, row.library) for row in rows] == [
        (10, "/a/libc.so.6"),
        (10, "/b/libc.so.6"),
        (12, LIBC),
    ]
