# SPDX-License-Identifier: GPL-2.0-or-later
"""What many rows come to: words, sentences, exit statuses, hints and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from host.errors import BadDataError, ExitStatus
from host.terminal import Paint, columns
from tests.ulp.test_coverage import LIBC, A, B, applied, container
from ulp.coverage import LivePatch, Question, Row, State
from ulp.engines import Applied
from ulp.hidden import Hidden
from ulp.result import Reason
from ulp.verdict import Verdict, grouped, one_by_one

PLAIN = Paint(on=False)
FILE = container(3, "CVE-1-1", "bsc#7")
FIX = LivePatch(
    path=FILE.path,
    patch_id=FILE.patch_id,
    target="libc.so.6",
    build_id=A,
    labels=FILE.labels,
    container=FILE,
)
HELD = applied(3, "CVE-1-1", "bsc#7")


def row(pid: int = 10, state: State = State.PATCHED, **fields: object) -> Row:
    held: tuple[Applied, ...] = (HELD,) if state is State.PATCHED else ()
    known: dict[str, object] = {
        "pid": pid,
        "name": "daemon",
        "library": LIBC,
        "build_id": A,
        "state": state,
        "held": held,
        "fix": FIX if state not in {State.OTHER_BUILD, State.NO_LIVE_PATCH} else None,
    }
    return Row(**{**known, **fields})  # type: ignore[arg-type]


def patchable(pid: int) -> Row:
    return row(pid, State.UNPATCHED, reason=Reason.WOULD_CHANGE)


def stuck(pid: int, reason: Reason = Reason.SECCOMP, **fields: object) -> Row:
    return row(pid, State.UNPATCHED, reason=reason, detail=reason.sentence, **fields)


def other(pid: int) -> Row:
    return row(pid, State.OTHER_BUILD, build_id=B, detail="none")


def verdict(
    *rows: Row, label: str = "", unseen: int = 0, problems: Sequence[BadDataError] = (), patches: int = 1
) -> Verdict:
    return Verdict(
        question=Question(label=label),
        rows=rows,
        patches=patches,
        unseen=[Hidden(7, "seven")] * unseen,
        problems=problems,
    )


BAD = BadDataError("x.so: damaged")


@pytest.mark.parametrize(
    ("answer", "word", "status"),
    [
        (verdict(row()), "covered", ExitStatus.OK),
        (verdict(row(), other(11)), "covered", ExitStatus.OK),
        (verdict(row(), patchable(11)), "not-covered", ExitStatus.FAILED),
        (verdict(row(), stuck(10)), "not-covered", ExitStatus.FAILED),
        (verdict(row(10, State.NO_LIVE_PATCH)), "not-covered", ExitStatus.FAILED),
        (verdict(row(10, State.UNKNOWN)), "not-covered", ExitStatus.FAILED),
        (verdict(patchable(11), unseen=1, problems=[BAD]), "not-covered", ExitStatus.FAILED),
        (verdict(), "nothing-concerned", ExitStatus.NOTHING_MATCHED),
        (verdict(other(11)), "nothing-concerned", ExitStatus.NOTHING_MATCHED),
        (verdict(row(), unseen=1), "not-proven", ExitStatus.NOT_PERMITTED),
        (verdict(unseen=1), "not-proven", ExitStatus.NOT_PERMITTED),
        (verdict(row(), problems=[BAD], unseen=1), "not-proven", ExitStatus.BAD_DATA),
    ],
)
def test_word_and_exit_status(answer: Verdict, word: str, status: ExitStatus) -> None:
    assert (answer.word, answer.status) == (word, status)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (verdict(row()), "1 of 1 process runs the newest live patch for libc.so.6"),
        (verdict(row(), row(11), label="CVE-1-1"), "2 of 2 processes run the fix for CVE-1-1"),
        (
            verdict(row(), patchable(11), stuck(12), stuck(13), stuck(14, Reason.NO_ROOM), label="CVE-1-1"),
            "1 of 5 processes run the fix for CVE-1-1; 1 can be patched now; 3 cannot: a seccomp filter "
            "forbids the system calls that are needed (daemon 12, daemon 13), no room near the library "
            "(daemon 14)",
        ),
        (
            verdict(*(stuck(pid) for pid in range(10, 16)), label="CVE-1-1"),
            "0 of 6 processes run the fix for CVE-1-1; 6 cannot: a seccomp filter forbids the system calls "
            "that are needed (daemon 10, daemon 11, daemon 12 and 3 more)",
        ),
        (
            verdict(row(10), row(10, State.NO_LIVE_PATCH, build_id=B)),
            "0 of 1 process runs the newest live patch for libc.so.6; 1 cannot: no live patch is for the "
            "deleted build of libc.so.6 (daemon 10)",
        ),
        (
            verdict(row(10, State.UNPATCHED, detail="not installed")),
            "0 of 1 process runs the newest live patch for libc.so.6; 1 cannot: the live patch is not "
            "installed (daemon 10)",
        ),
        (verdict(patches=0), "no live patch is installed, and no process holds one"),
        (
            verdict(other(1), label="CVE-1-1"),
            "no process maps a build of a library for which there is a live patch that names CVE-1-1",
        ),
    ],
)
def test_sentence(answer: Verdict, sentence: str) -> None:
    assert answer.sentence == sentence


def test_a_process_with_two_libraries_counts_once_and_both_must_be_fixed() -> None:
    crypto = FIX._replace(target="libcrypto.so.3", build_id=B)
    second: dict[str, Any] = {"library": "/usr/lib64/libcrypto.so.3", "build_id": B, "fix": crypto}
    answer = verdict(row(10), row(10, **second), row(11), stuck(11, **second))
    assert (len(answer.concerned), answer.covered, answer.patchable) == (2, [10], 0)
    assert answer.sentence.startswith(
        "1 of 2 processes run the newest live patches for libc.so.6 and libcrypto.so.3; 1 cannot: "
    )


def test_other_builds() -> None:
    assert verdict(row()).other_builds() == ""
    assert verdict(row(), other(11)).other_builds() == (
        "1 process uses a build of libc.so.6 for which there is no live patch"
    )
    assert verdict(other(1), other(2), label="CVE-1-1").other_builds() == (
        "2 processes use a build of libc.so.6 for which there is no live patch that names CVE-1-1"
    )


def test_hints_say_each_thing_once_and_can_be_pasted() -> None:
    spaced = FIX._replace(path="/a b/x_livepatch1.so", build_id=B)
    rows = [patchable(1), patchable(2), row(3, State.OUTDATED, fix=spaced, reason=Reason.WOULD_CHANGE)]
    rows += [stuck(4), stuck(5, Reason.NO_ROOM), row(6, State.NO_LIVE_PATCH)]
    assert verdict(*rows).hints() == [
        f"ulp trigger --revert-all=target '/a b/x_livepatch1.so' {FILE.path}",
        "--disable-seccomp suspends the filter for the change; it needs CAP_SYS_ADMIN.",
        "Restarting a process lets it load the library that is on disk now.",
    ]
    assert verdict(row()).hints() == []


def test_equal_cases_take_one_line_of_the_table() -> None:
    rows = [
        *(row(pid, name=name) for pid, name in enumerate(["sshd"] * 200 + ["cron"], start=100)),
        patchable(10),
        patchable(11),
        stuck(12),
        other(13),
    ]
    text = grouped(rows, label="", width=None, ink=PLAIN)
    assert [re.split(r" {2,}", line.strip()) for line in text.splitlines()] == [
        ["COUNT", "STATE", "LIBRARY", "LIVE PATCH AND FIXES, OR REASON", "PROCESSES"],
        ["1", "other-build", "libc.so.6", "none", "daemon"],
        ["201", "patched", "libc.so.6", "libc_livepatch3.so (direct): CVE-1-1 bsc#7", "cron, sshd (200)"],
        ["2", "unpatched", "libc.so.6", "can be patched now", "daemon (pid 10, 11)"],
        ["1", "unpatched", "libc.so.6", Reason.SECCOMP.sentence, "daemon (pid 12)"],
    ]
    focused = grouped([row()], label="CVE-1-1", width=None, ink=PLAIN)
    assert "libc_livepatch3.so (direct): CVE-1-1  daemon" in focused


def test_one_line_for_each_process() -> None:
    text = one_by_one([row(7), stuck(12)], label="", width=None, ink=PLAIN)
    assert [line.split()[:4] for line in text.splitlines()[1:]] == [
        ["7", "daemon", "patched", "libc.so.6"],
        ["12", "daemon", "unpatched", "libc.so.6"],
    ]


@pytest.mark.parametrize("lay_out", [grouped, one_by_one])
def test_a_table_fits_the_terminal_and_harms_nobody(lay_out: object) -> None:
    assert callable(lay_out)
    evil = "\x1b]0;x\x07\n\u202e"
    long = applied(3, *(f"CVE-2025-{number}" for number in range(40)))
    rows = [row(pid, name=f"{evil}{pid}", library=f"/{evil}", held=(long,)) for pid in range(1, 40)]
    rows += [stuck(pid, name="x" * 15) for pid in range(40, 99)]
    text = lay_out(rows, label="", width=80, ink=PLAIN)
    assert max(map(columns, text.splitlines())) <= 80
    assert all(line.isprintable() for line in text.splitlines())
    painted = lay_out(rows, label="", width=80, ink=Paint(on=True))
    assert "\x1b[32;1mpatched" in painted and "\x1b[31;1munpatched" in painted
