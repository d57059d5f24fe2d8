# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re
import signal
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.patterns import Stopwatch, TooLongError, match_wildcard

few_letters = st.text("ab*", max_size=12)


@given(pattern=few_letters, text=few_letters)
@example(pattern="ab*ba", text="aba")
def test_wildcards_match_what_the_same_regular_expression_matches(pattern: str, text: str) -> None:
    expression = "(.*)".join(map(re.escape, pattern.split("*")))
    match = re.fullmatch(expression, text, re.DOTALL)
    assert match_wildcard(pattern, text) == (match.groups() if match else None)


def test_a_wildcard_that_would_take_a_regular_expression_for_ever() -> None:
    start = time.monotonic()
    assert match_wildcard("a*" * 2000 + "b", "a" * 100_000) is None
    assert time.monotonic() - start < 5


def test_groups_of_a_match() -> None:
    stopwatch = Stopwatch(1)
    names = ["kernel-default", "kernel-", "kernel-rt-x"]
    found = stopwatch.search(stopwatch.compile(r"^kernel-(\w+)(-x)?"), names)
    assert found == {"kernel-default": ("default", ""), "kernel-rt-x": ("rt", "-x")}
    assert stopwatch.search(stopwatch.compile("b"), ["abc", "cba"]) == {"abc": (), "cba": ()}
    assert stopwatch.search(stopwatch.compile("d"), ["abc"]) == {}


@pytest.mark.parametrize("expression", ["(a+)+$", "(?:a|a)*b", "a*" * 30 + "b", "(?=(a+)+$)b"])
def test_an_expression_that_would_run_for_ever_ends(expression: str) -> None:
    stopwatch = Stopwatch(0.1)
    pattern = stopwatch.compile(expression)
    handler = signal.getsignal(signal.SIGVTALRM)
    start = time.process_time()
    with pytest.raises(TooLongError):
        stopwatch.search(pattern, ["b", "a" * 100 + "!"])
    assert time.process_time() - start < 2
    assert signal.getsignal(signal.SIGVTALRM) == handler
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    with pytest.raises(TooLongError):  # nothing is left for others either
        stopwatch.search(re.compile("a"), ["a"])


@pytest.mark.parametrize(
    "expression", ["(", "[", "a{2,1}", "*", "(?P<x>a)(?P<x>b)", "(" * 5000 + ")" * 5000]
)
def test_a_wrong_expression_is_an_error_of_re(expression: str) -> None:
    with pytest.raises(re.error):
        Stopwatch(1).compile(expression)


def test_nothing_is_matched_where_no_signal_would_end_it() -> None:
    outcome: list[BaseException] = []

    def match() -> None:
        try:
            Stopwatch(1).search(re.compile("a"), ["a"])
        except TooLongError as error:
            outcome.append(error)

    thread = threading.Thread(target=match)
    thread.start()
    thread.join()
    assert len(outcome) == 1
