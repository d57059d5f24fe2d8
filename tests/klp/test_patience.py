# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import time

import pytest

from klp.patience import read_each


def test_all_answers_come_in_order() -> None:
    assert read_each(lambda item: item * 2, range(1000)) == ([(item, item * 2) for item in range(1000)], [])


def test_nothing_to_read() -> None:
    assert read_each(str, []) == ([], [])


def test_an_item_that_hangs_is_given_up_and_the_rest_is_read() -> None:
    reading, writing = os.pipe()
    try:
        answered, silent = read_each(
            lambda item: os.read(reading, 1) if item in (2, 5) else b"", range(6), patience=0.1
        )
    finally:
        os.write(writing, b"xx")  # lets the threads that were left behind end before the pipe does
        time.sleep(0.05)
        os.close(writing)
        os.close(reading)
    assert [item for item, _ in answered] == [0, 1, 3, 4]
    assert silent == [2, 5]


def test_slow_items_are_waited_for_as_long_as_each_is_fast_enough() -> None:
    answered, silent = read_each(lambda item: time.sleep(0.02), range(20), patience=0.3)
    assert (len(answered), silent) == (20, [])


def test_what_is_raised_while_reading_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        read_each(lambda item: 1 // item, [1, 0, 2])
