# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes under seccomp filters: changed where the filter allows it, else left alive and unchanged."""

from __future__ import annotations

import os

import pytest

from tests.support.livepatches import NEW, OLD, REVERTED, SUCCESS, ten_functions, trigger
from tests.support.targets import answers_library, caller, running

FORBIDDING = [
    "seccomp-memfd-errno",
    "seccomp-memfd-kill",
    "seccomp-exec-kill",
    "seccomp-mmap-trap",
    "seccomp-mask-kill",
]


def test_filter_that_allows_what_is_needed() -> None:
    with running(caller(answers_library()), "seccomp-allow", "sleepers=3") as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        assert target.answers(10) == NEW
        assert trigger(target, "--revert", ten_functions(200)).verdict == REVERTED
        assert target.answers(10) == OLD


@pytest.mark.parametrize("condition", FORBIDDING)
def test_filter_that_forbids_or_kills(condition: str) -> None:
    """What it would answer is worked out before: the process is never asked to do what kills it."""
    with running(caller(answers_library()), condition) as target:
        before = target.maps()
        said = trigger(target, ten_functions(200))
        if (
            said.row["outcome"] == "SUCCESS"
        ):  # another way was found that the filter allows: then it must have worked
            assert target.answers(10) == NEW
            return
        assert said.verdict == ("ERROR", "seccomp"), said
        assert said.status != 0
        assert target.answers(10) == OLD
        assert target.maps() == before


def test_strict_mode() -> None:
    with running(caller(answers_library()), "seccomp-strict", "nap=0") as target:
        said = trigger(target, ten_functions(200))
        assert said.verdict == ("ERROR", "seccomp"), said
        assert target.answers(10) == OLD


@pytest.mark.skipif(os.geteuid() != 0, reason="suspending a filter needs CAP_SYS_ADMIN")
@pytest.mark.parametrize("condition", ["seccomp-memfd-kill", "seccomp-exec-kill", "seccomp-memfd-errno"])
def test_filter_suspended_on_request(condition: str) -> None:
    with running(caller(answers_library()), condition) as target:
        assert trigger(target, "--disable-seccomp", ten_functions(200)).verdict == SUCCESS
        assert target.answers(10) == NEW
        assert trigger(target, "--disable-seccomp", "--revert", ten_functions(200)).verdict == REVERTED
        assert target.answers(10) == OLD
