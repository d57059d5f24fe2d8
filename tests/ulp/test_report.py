# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines, counts and JSON rows of results, hostile names included."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.json_output import dumps
from host.terminal import Paint
from ulp import report
from ulp.result import BusyCall, Outcome, Reason, Result

PLAIN = Paint(on=False)
LP1, LP2 = "/usr/lib64/lp/libbench_livepatch1.so", "/usr/lib64/lp/libbench_livepatch2.so"
LIBRARY = "/usr/lib64/libbench.so.0"


def result(reason: Reason, *, pid: int = 9364, name: str = "sleeper", **fields: object) -> Result:
    start = Result(pid=pid, name=name, reason=reason, container=LP1, library=LIBRARY)
    return start._replace(**fields)  # type: ignore[arg-type]


def shown(*results: Result, verbose: bool = False, ink: Paint = PLAIN) -> str:
    return "".join(
        f"{line}\n"
        for process in report.by_process(results)
        for line in report.lines(process, process.results, verbose=verbose, ink=ink)
    )


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (result(Reason.APPLIED), f"SUCCESS {LP1}"),
        (result(Reason.APPLIED, subject="./a.so"), "SUCCESS ./a.so"),
        (result(Reason.REPLACED, container=LP2, reverted=(LP1,)), f"SUCCESS {LP2}"),
        (result(Reason.REVERTED, container="", subject="a.so", reverted=(LP1,)), "SUCCESS a.so"),
        (result(Reason.WOULD_CHANGE, subject="a.so"), "SUCCESS would apply a.so (dry run)"),
        (
            result(Reason.WOULD_CHANGE, container="", subject="a.so", reverted=(LP1, LP2)),
            "SUCCESS would revert libbench_livepatch1.so, libbench_livepatch2.so (dry run)",
        ),
        (result(Reason.ALREADY_APPLIED), "SKIPPED Patch already applied"),
        (
            result(Reason.ALREADY_TRACED, detail="gdb (77) traces it"),
            f"FAILED {LP1}: gdb (77) traces it",
        ),
        (
            result(Reason.OUT_OF_ORDER, container="", subject="a.so"),
            "FAILED a.so: a later live patch stands on this one",
        ),
    ],
)
def test_one_result_is_one_line_as_users_know_it(one: Result, line: str) -> None:
    assert shown(one) == f"  sleeper (pid: 9364): {line}\n"


def test_several_results_stand_below_their_process_in_order() -> None:
    both = result(Reason.APPLIED), result(Reason.ALREADY_APPLIED, container=LP2)
    assert shown(*both) == (
        f"  sleeper (pid: 9364):\n    SUCCESS {LP1}\n    SKIPPED {LP2}: Patch already applied\n"
    )


def test_without_summary_one_result_stands_below_its_process_too() -> None:
    (process,) = report.by_process([result(Reason.ALREADY_APPLIED)])
    said = list(report.lines(process, process.results, verbose=False, ink=PLAIN, summarize=False))
    assert said == ["  sleeper (pid: 9364):", f"    SKIPPED {LP1}: Patch already applied"]


def test_busy_calls_are_named_with_their_threads() -> None:
    busy = (BusyCall(function="f", thread=123), *(BusyCall(function="g", thread=n) for n in range(9, 0, -1)))
    assert shown(result(Reason.APPLIED, busy=busy)).splitlines()[1:] == [
        "      1 call is still inside the old f and finishes there (thread 123)",
        "      9 calls are still inside the old g and finish there (threads 1, 2, 3, 4, 5, 6, 7, 8 and 1 more)",
    ]


def test_an_error_names_all_calls_that_are_in_the_way_if_its_sentence_does_not() -> None:
    calls = tuple(BusyCall(function="f", thread=n) for n in (1, 2))
    assert shown(result(Reason.STACK_BUSY, busy=calls)).splitlines()[1:] == [
        "      2 calls are inside f (threads 1, 2)"
    ]
    assert len(shown(result(Reason.STACK_BUSY, busy=calls[:1])).splitlines()) == 1


def test_verbose_tells_pause_threads_library_and_functions() -> None:
    one = result(
        Reason.REPLACED,
        pause=0.000213,
        longest_pause=0.00019,
        threads=17,
        functions=("f", "g"),
        reverted=(LP2,),
    )
    assert shown(one, verbose=True).splitlines()[1:] == [
        "      stood still for 213 microseconds with 17 threads, one that ran for 190",
        "      reverted: libbench_livepatch2.so",
        "      library: /usr/lib64/libbench.so.0",
        "      functions: f, g",
    ]


def test_only_the_outcome_is_colored() -> None:
    assert shown(result(Reason.APPLIED), ink=Paint(on=True)) == (
        f"  sleeper (pid: 9364):\x1b[32;1m SUCCESS\x1b[0m {LP1}\n"
    )
    assert ":\x1b[33;1m SKIPPED\x1b[0m " in shown(result(Reason.ALREADY_APPLIED), ink=Paint(on=True))
    assert ":\x1b[31;1m FAILED\x1b[0m " in shown(result(Reason.SECCOMP), ink=Paint(on=True))
    both = result(Reason.APPLIED), result(Reason.SECCOMP)
    assert "\n\x1b[31;1m    FAILED\x1b[0m " in shown(*both, ink=Paint(on=True))


@given(st.text(), st.text(), st.text())
def test_no_untrusted_text_makes_a_line_of_its_own_or_acts(name: str, path: str, function: str) -> None:
    one = result(
        Reason.APPLIED,
        name=name,
        container=f"/x/{path}",
        library=path,
        functions=(function,),
        busy=(BusyCall(function=function, thread=1),),
        pause=0.1,
    )
    lines = list(report.lines(report.by_process([one])[0], [one], verbose=True, ink=PLAIN))
    assert len(lines) == 5 if path else 4
    assert all(line.isprintable() for line in lines)


def test_each_process_counts_once_by_its_worst() -> None:
    results = [
        result(Reason.APPLIED, pid=1),
        result(Reason.ALREADY_APPLIED, pid=1),
        result(Reason.APPLIED, pid=2),
        result(Reason.STACK_BUSY, pid=2),
        result(Reason.ALREADY_APPLIED, pid=3),
        result(Reason.NO_SUCH_LIBRARY, pid=4),
        result(Reason.STATIC_BINARY, pid=5),
        result(Reason.NOT_APPLIED, pid=6),
        result(Reason.KERNEL_THREAD, pid=7),
        result(Reason.PROCESS_GONE, pid=8),
    ]
    counts = report.count(report.by_process(results))
    assert counts == report.Counts(patched=1, skipped=1, failed=1, not_concerned=3)


def test_a_process_with_one_fitting_build_is_not_bothered_with_the_others() -> None:
    other = "/usr/lib64/libother.so.1"
    (process,) = report.by_process(
        [
            result(Reason.BUILD_ID_MISMATCH),
            result(Reason.APPLIED, container=LP2),
            result(Reason.BUILD_ID_MISMATCH, library=other, detail="first"),
            result(Reason.BUILD_ID_MISMATCH, library=other, detail="second"),
        ]
    )
    assert [(r.reason, r.detail) for r in process.concerned] == [
        (Reason.APPLIED, ""),
        (Reason.BUILD_ID_MISMATCH, "first"),
    ]
    assert process.outcome is Outcome.SUCCESS


def test_every_failure_has_a_remedy_and_each_is_said_once() -> None:
    errors = [reason for reason in Reason if report.is_failure(reason)]
    assert {Reason.DISABLED, Reason.SECCOMP} <= set(errors) < set(Reason)
    for reason in errors:
        (said,) = report.remedies([result(reason), result(reason), result(Reason.APPLIED)])
        assert said.endswith(".")
    own = report.REMEDIES.keys() & set(errors)
    assert len(report.remedies(result(reason) for reason in errors)) == len(own) + 1


def test_a_row_has_every_field_of_a_result() -> None:
    one = result(Reason.APPLIED, pause=0.5, busy=(BusyCall(function="f", thread=3),), functions=("f",))
    row = json.loads(dumps(report.row(one)))
    assert set(row) == set(Result._fields) - {"subject"} | {"outcome"}
    assert (row["outcome"], row["reason"], row["detail"]) == ("SUCCESS", "applied", "patched")
    assert (row["pause"], row["longest_pause"]) == (0.5, None)
    assert row["busy"] == [{"function": "f", "thread": 3}]
