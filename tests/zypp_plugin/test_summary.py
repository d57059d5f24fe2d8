# SPDX-License-Identifier: GPL-2.0-or-later
"""From results to rows, and from a report to one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ulp.result import BusyCall, Reason, Result
from zypp_plugin.report import ContainerRow, KernelRow, PackageRow, ProcessRow, Report, State, Use, Worker
from zypp_plugin.summary import fold, split, summarize

TARGETS = {"/a1.so": "liba.so.1", "/a2.so": "liba.so.1", "/b.so": "libb.so.1"}


def result(pid: int, reason: Reason, container: str = "/a1.so", **more: object) -> Result:
    return Result(pid=pid, name=f"p{pid}", reason=reason, container=container, **more)  # type: ignore[arg-type]


def rows(*results: Result) -> list[tuple[int, str, str]]:
    return [(row.pid, row.library, row.reason) for row in fold(results, targets=TARGETS)]


def test_processes_that_do_not_use_the_library_are_left_out() -> None:
    assert not rows(
        result(1, Reason.NO_SUCH_LIBRARY),
        result(2, Reason.KERNEL_THREAD),
        result(3, Reason.STATIC_BINARY),
        result(4, Reason.PROCESS_GONE),
    )


def test_of_several_builds_the_one_that_fits_counts() -> None:
    assert rows(result(1, Reason.BUILD_ID_MISMATCH), result(1, Reason.APPLIED, "/a2.so")) == [
        (1, "liba.so.1", "applied")
    ]
    assert rows(result(1, Reason.ALREADY_APPLIED), result(1, Reason.BUILD_ID_MISMATCH, "/a2.so")) == [
        (1, "liba.so.1", "already-applied")
    ]
    assert rows(result(1, Reason.BUILD_ID_MISMATCH), result(1, Reason.STACK_BUSY, "/a2.so")) == [
        (1, "liba.so.1", "stack-busy")
    ]


def test_where_no_build_fits_the_row_says_so() -> None:
    [row] = fold(
        [result(1, Reason.BUILD_ID_MISMATCH), result(1, Reason.BUILD_ID_MISMATCH, "/a2.so")], targets=TARGETS
    )
    assert row.sentence == "none of 2 live patches is for the build of liba.so.1 that is loaded"
    [row] = fold([result(1, Reason.BUILD_ID_MISMATCH, detail="it has 00, not ff")], targets=TARGETS)
    assert row.sentence == "it has 00, not ff"


def test_two_libraries_are_two_rows_and_one_process() -> None:
    folded = fold(
        [
            result(1, Reason.APPLIED),
            result(1, Reason.NOT_PERMITTED, "/b.so"),
            result(2, Reason.APPLIED),
            result(2, Reason.ALREADY_APPLIED, "/b.so"),
            result(3, Reason.BUILD_ID_MISMATCH),
        ],
        targets=TARGETS,
    )
    assert len(folded) == 5
    fixed, failed, left_out = split(folded)
    assert [[row.pid for row in group] for group in (fixed, failed, left_out)] == [[2], [1], [3]]


def test_calls_that_finish_in_old_code_are_named() -> None:
    [row] = fold([result(1, Reason.APPLIED, busy=(BusyCall(function="f", thread=12),))], targets=TARGETS)
    assert row.busy == ("f (12)",)


APPLIED = PackageRow(
    name="a-livepatches",
    kind="userspace",
    action="installed",
    evr="1-1",
    containers=(ContainerRow(path="/a1.so", use=Use.APPLIED, target="liba.so.1"),),
)
REPORT = Report(
    state=State.DONE,
    started=1.0,
    finished=2.0,
    worker=Worker(pid=1, started=1, boot=""),
    packages=(APPLIED,),
)


def process(pid: int, reason: Reason) -> ProcessRow:
    return ProcessRow(
        pid=pid,
        name=f"p{pid}",
        library="liba.so.1",
        outcome=reason.outcome,
        reason=reason,
        sentence=reason.sentence,
    )


def with_processes(*reasons: Reason) -> Report:
    return replace(
        REPORT, processes=tuple(process(pid, reason) for pid, reason in enumerate(reasons, start=10))
    )


@pytest.mark.parametrize(
    ("report", "says", "mood"),
    [
        (REPORT, "no running process uses liba.so.1", "good"),
        (replace(REPORT, state=State.RUNNING, finished=None), "no process has been patched yet", "partly"),
        (
            with_processes(Reason.APPLIED),
            "the only process that uses liba.so.1 runs the fixed functions",
            "good",
        ),
        (
            with_processes(Reason.APPLIED, Reason.REPLACED, Reason.ALREADY_APPLIED),
            "all 3 processes that use liba.so.1 run the fixed functions",
            "good",
        ),
        (
            with_processes(Reason.APPLIED, Reason.MEMORY_SEALED),
            "1 of 2 processes that use liba.so.1 run the fixed functions; "
            "1 cannot: p11 (11): the memory cannot be written",
            "bad",
        ),
        (
            with_processes(Reason.PROCESS_ONE),
            "0 of 1 process that uses liba.so.1 runs the fixed functions; "
            "1 left out: p10 (10): process 1 is left out unless configured",
            "partly",
        ),
        (
            with_processes(*[Reason.NOT_PERMITTED] * 5),
            "0 of 5 processes that use liba.so.1 run the fixed functions; 5 cannot: p10 (10): not permitted, "
            "p11 (11): not permitted, p12 (12): not permitted and 2 more",
            "bad",
        ),
        (
            replace(
                with_processes(Reason.APPLIED),
                kernel=(
                    KernelRow(
                        package="k",
                        patch="p",
                        state="in-transition",
                        sentence="kernel live patch p is in transition",
                    ),
                ),
            ),
            "the only process that uses liba.so.1 runs the fixed functions; kernel live patch p is in transition",
            "partly",
        ),
        (
            replace(REPORT, state=State.FAILED, problems=("The disk has gone.",)),
            "no process was patched: the disk has gone",
            "bad",
        ),
        (
            replace(with_processes(Reason.APPLIED), problems=("LIVEPATCH_A is odd.",)),
            "the only process that uses liba.so.1 runs the fixed functions; LIVEPATCH_A is odd",
            "partly",
        ),
        (replace(REPORT, packages=()), "nothing was to be done", "good"),
        (
            replace(
                REPORT,
                packages=(
                    replace(
                        APPLIED,
                        containers=(ContainerRow(path="/x.so", use=Use.REFUSED, why="/x.so is broken"),),
                    ),
                ),
            ),
            "a-livepatches 1-1 has a container that is not applied: /x.so is broken",
            "bad",
        ),
    ],
)
def test_one_sentence(report: Report, says: str, mood: str) -> None:
    assert summarize(report) == (says, mood)
