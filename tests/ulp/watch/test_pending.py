# SPDX-License-Identifier: GPL-2.0-or-later
"""When processes are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ulp.watch.pending import SCHEDULE, Entry, Pending


def test_looks_follow_the_schedule() -> None:
    pending = Pending()
    assert pending.next() is None
    pending.started(7, since=100.0)
    times = []
    while (due := pending.next()) is not None:
        assert pending.take(due - 1e-6) == {}
        [(pid, entry)] = pending.take(due).items()
        times.append(due - 100.0)
        assert pid == 7
        pending.again(pid, entry)
    assert [round(time, 6) for time in times] == list(SCHEDULE)
    assert len(pending) == 0


def test_who_ends_or_starts_anew() -> None:
    pending = Pending()
    pending.started(1, since=0.0)
    pending.started(2, since=0.0)
    pending.ended(1)
    pending.started(2, since=5.0)  # another program
    assert pending.take(1.0) == {}
    assert pending.take(6.0).keys() == {2}
    pending.started(3, since=0.0)
    [entry] = pending.take(9.0).values()
    pending.started(3, since=9.0)
    assert pending.again(3, entry)
    assert pending.next() == 9.0 + SCHEDULE[0]


def test_children_of_who_waits() -> None:
    pending = Pending()
    pending.started(1, since=0.0)
    pending.forked(1, 2)
    pending.forked(99, 3)  # nothing is known of its parent: it has been dealt with
    pending.ended(1)
    assert pending.take(1.0).keys() == {2}


def test_a_library_opened_by_a_new_process_changes_nothing() -> None:
    pending = Pending()
    pending.started(1, since=0.0)
    pending.opened(1, 3.0)
    pending.opened(2, 3.0)
    assert pending.take(1.0).keys() == {1}
    assert pending.take(4.0).keys() == {2}


def test_one_more_look() -> None:
    entry = Entry(0.0, looks=len(SCHEDULE) - 1)
    entry.one_more()
    pending = Pending()
    assert pending.again(1, entry)
    [entry] = pending.take(99.0).values()
    assert not pending.again(1, entry)


@given(st.lists(st.tuples(st.sampled_from("sfoe"), st.integers(1, 5), st.floats(0, 10)), max_size=60))
def test_nobody_is_lost_and_nobody_stays_for_ever(events: list[tuple[str, int, float]]) -> None:
    pending, expected, now = Pending(), set[int](), 0.0
    for kind, pid, pause in events:
        now += pause / 100
        if kind == "s":
            pending.started(pid, now)
            expected.add(pid)
        elif kind == "o":
            pending.opened(pid, now)
            expected.add(pid)
        elif kind == "f" and pid in expected:
            pending.forked(pid, pid + 10)
            expected.add(pid + 10)
        elif kind == "e":
            pending.ended(pid)
            expected.discard(pid)
    assert len(pending) == len(expected)
    seen: dict[int, int] = {}
    while (due := pending.next()) is not None:
        for pid, entry in pending.take(due).items():
            seen[pid] = seen.get(pid, 0) + 1
            pending.again(pid, entry)
    assert seen.keys() == expected
    assert all(count <= len(SCHEDULE) for count in seen.values())
