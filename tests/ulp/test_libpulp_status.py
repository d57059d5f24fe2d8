# SPDX-License-Identifier: GPL-2.0-or-later
"""Our exit statuses and libpulp's: from reasons, from errors, from commands. Side by side: test_libpulp_compatible."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from host.errors import BadDataError, ExitStatus, UsageError
from tests.support.containers import build_container, build_library
from ulp import libpulp_status, report
from ulp.result import Outcome, Reason, Result

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp


@pytest.mark.parametrize(
    ("done", "failures", "status"),
    [
        (False, [], ExitStatus.OK),
        (True, [], ExitStatus.OK),
        (True, [Reason.STACK_BUSY], ExitStatus.PARTLY),
        (True, [Reason.NOT_PERMITTED], ExitStatus.PARTLY),
        (False, [Reason.STACK_BUSY, Reason.LOADING], ExitStatus.FAILED),
        (False, [Reason.NOT_PERMITTED], ExitStatus.NOT_PERMITTED),
        (False, [Reason.INTERNAL], ExitStatus.INTERNAL),
        (False, [Reason.INTERNAL, Reason.NOT_PERMITTED], ExitStatus.FAILED),
    ],
)
def test_status_of_a_change_in_many_processes(
    done: bool, failures: list[Reason], status: ExitStatus
) -> None:
    assert report.exit_status(done=done, failures=failures) is status


def results(*reasons: Reason) -> list[Result]:
    return [Result(pid=1, name="p", reason=reason) for reason in reasons]


def test_every_reason_has_a_number() -> None:
    assert libpulp_status.NUMBERS.keys() == set(Reason)
    # libpulp passes over a process that it may not attach to; every other failure must be told from success
    passed_over = {Reason.ALREADY_TRACED, Reason.NOT_PERMITTED, Reason.OTHER_ARCHITECTURE}
    for reason in Reason:
        failed = libpulp_status.of_results(results(reason)) != 0
        assert failed == (
            reason is Reason.NOT_APPLIED or (reason.outcome is Outcome.ERROR and reason not in passed_over)
        ), reason


def test_numbers_are_ored_and_cut() -> None:
    of = libpulp_status.of_results
    assert of([]) == 0
    assert of(results(Reason.APPLIED, Reason.ALREADY_APPLIED, Reason.BUILD_ID_MISMATCH)) == 0
    assert of(results(Reason.UNRESOLVED_SYMBOL)) == 287 & 0xFF == 31
    assert of(results(Reason.NOT_APPLIED, Reason.LOADING, Reason.APPLIED)) == (272 | 11) & 0xFF == 27


def test_errors_keep_their_number_unless_libpulps_is_wanted() -> None:
    options = argparse.Namespace(libpulp_exit_status=False)
    with pytest.raises(BadDataError) as caught, libpulp_status.errors_as(options, 1):
        raise BadDataError("x")
    assert caught.value.foreign_status is None
    options.libpulp_exit_status = True
    with (
        pytest.raises(BadDataError) as caught,
        libpulp_status.errors_as(options, 1),
        libpulp_status.errors_as(options, 269, special={ExitStatus.NO_INPUT: 7}),
    ):
        raise BadDataError("x")
    assert caught.value.foreign_status == 13  # the inner one decides
    with (
        pytest.raises(BadDataError) as caught,
        libpulp_status.errors_as(options, 1, special={ExitStatus.BAD_DATA: 7}),
    ):
        raise BadDataError("x")
    assert caught.value.foreign_status == 7
    with pytest.raises(UsageError) as usage, libpulp_status.errors_as(options, 1):
        raise UsageError("x")
    assert usage.value.foreign_status is None


@pytest.fixture
def container(tmp_path: Path) -> Path:
    library = build_library(tmp_path, "int f(void) { return 1; }", name=f"libstatus{id(tmp_path)}.so.0")
    return build_container(tmp_path, "int g(void) { return 2; }", target=library, functions={"f": "g"})


@pytest.mark.parametrize(
    ("words", "ours", "theirs"),
    [
        (["trigger", "{}", "-p", "99999999"], 66, 0),
        (["trigger", "{}", "-p", "no such process"], 2, 0),
        (["trigger", "/nonexistent.so"], 66, 13),
        (["trigger", "/etc/passwd"], 65, 13),
        (["trigger", "/nonexistent/*.so"], 66, 0),
        (["trigger"], 64, 64),
        (["check", "{}", "-p", "99999999"], 66, 255),
        (["check", "/etc/passwd", "-p", "1"], 65, 1),
        (["check", "{}", "-p", "no such process"], 2, 255),
        (["patches", "-p", "99999999"], 66, 1),
        (["patches", "-p", "no such process"], 2, 0),
        (["patches", "too", "many"], 64, 64),
        (["messages", "-p", "99999999"], 66, 1),
        (["messages"], 64, 64),
        (["dump", "/etc/passwd"], 65, 1),
        (["dump", "{}"], 0, 0),
        (["packer", "/etc/passwd"], 65, 1),
        (["packer", "/nonexistent.dsc"], 66, 1),
        (["post", "/etc/passwd"], 65, 1),
        (["post", "{}"], 65, 1),
        (["extract", "/nonexistent.so"], 66, 1),
        (["livepatchable", "/etc/passwd"], 65, 1),
        (["livepatchable", "{}"], 1, 1),
        (["livepatchable"], 64, 64),
    ],
)
def test_commands_end_with_our_status_or_with_libpulps(
    ulp: Ulp, container: Path, words: list[str], ours: int, theirs: int
) -> None:
    words = [word.replace("{}", str(container)) for word in words]
    status, *said = ulp(*words)
    assert status == ours, said
    assert ulp("--libpulp", *words) == (theirs, *said)
