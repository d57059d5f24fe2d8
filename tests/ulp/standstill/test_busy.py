# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls found on stacks: those of real threads, wherever their stack is."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.targets import Slot, Target, answers_library, caller, program, running
from ulp.arch import x86_64 as arch
from ulp.engines.direct.suspended import SuspendedCalls
from ulp.process import Process
from ulp.result import BusyCall, Reason
from ulp.standstill import busy
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import Momentary, while_standing
from ulp.standstill.tracing import run_tracing
from ulp.standstill.words import AddressSearch
from ulp.tracee import Thread


def range_of(process: Process, name: str) -> tuple[int, int, str]:
    """Where a function of the answers library is in a process, without its first byte."""
    (item,) = [item for item in process.linked_objects() if item.path == str(answers_library())]
    symbol = item.image.symbols.find(name)
    assert symbol is not None
    return item.bias + symbol.value + 1, symbol.size - 1, name


def look(process: Process, *, ranges: Ranges, inside: tuple[int, ...] = ()) -> Watch:
    """Look at all threads of a process once."""
    watch = Watch(process, ranges=ranges, inside=inside)
    pause = run_tracing(lambda: while_standing(process.pid, look=watch.look, act=lambda: None))
    assert pause.threads == len(os.listdir(f"/proc/{process.pid}/task"))
    return watch


@contextmanager
def held(*words: str) -> Iterator[tuple[Target, Process]]:
    with running(caller(answers_library()), "busy", *words) as target:
        target[Slot.HOLD] = 1
        target.until(lambda: target[Slot.INSIDE] == 1, "a thread inside")
        with Process(target.pid, images={}) as process:
            yield target, process
        target[Slot.HOLD] = 0
        target.until(lambda: target[Slot.INSIDE] == 0, "its way out")


def test_a_call_that_waits_deeper_down_is_seen() -> None:
    with held("sleepers=3") as (target, process):
        where = range_of(process, "held")
        calls = look(process, ranges=Ranges([where])).sorted_calls
        assert [call.function for call in calls] == ["held"]
        assert calls[0].thread in target.threads() and calls[0].thread != target.pid
        assert target.is_alive
        target[Slot.HOLD] = 0
        target.until(lambda: target[Slot.INSIDE] == 0, "its way out")
        target.advance()
        assert look(process, ranges=Ranges([range_of(process, "answer_9")])).sorted_calls == ()


def test_what_lies_too_deep_on_a_stack_is_found_as_a_suspended_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_LONGEST_STACK", 64)
    with held() as (_, process):
        ranges = Ranges([range_of(process, "held")])
        watch = look(process, ranges=ranges)
        assert not watch.calls
        call = SuspendedCalls(process, ranges).still_there(watch.stacks)
        assert call is not None and call[0] == "held"


def test_a_return_address_among_the_bytes_that_change() -> None:
    with held() as (target, process):
        start, size, _ = range_of(process, "held")
        with pytest.raises(Momentary, match="will return to the entry of held") as error:
            look(process, ranges=Ranges([(start, size, "held")]), inside=tuple(range(start, start + size)))
        assert error.value.reason is Reason.STACK_BUSY
        assert target.is_alive and target.tracer() == 0
        target.advance()


def test_a_thread_that_runs_in_the_bytes_that_change() -> None:
    with running(program("spinner")) as target, Process(target.pid, images={}) as process:
        (main,) = [m for m in process.mappings if m.path.endswith("/spinner") and m.permissions == "r-xp"]
        for _ in range(20):  # its loop calls the vdso, so it is not always in its own code
            try:
                look(process, ranges=Ranges([]), inside=tuple(range(main.start, main.end)))
            except Momentary as error:
                assert error.reason is Reason.STACK_BUSY
                break
        else:
            pytest.fail("a spinning thread was never seen in its own code")


def test_main_thread_of_a_process_whose_functions_nobody_calls() -> None:
    with running(caller(answers_library()), "nap=0") as target, Process(target.pid, images={}) as process:
        watch = look(process, ranges=Ranges([range_of(process, "held")]))
        assert watch.calls == set()
        (stack,) = [mapping for mapping in process.mappings if mapping.path == "[stack]"]
        assert any(stack.start <= low < end == stack.end for low, end in watch.stacks)


def test_the_first_byte_of_a_function_is_a_pointer_to_it_and_no_call() -> None:
    """What fills Ranges leaves it out: a table of function pointers on a stack is no call."""
    with held() as (_, process):
        start, size, _ = range_of(process, "held")
        assert look(process, ranges=Ranges([(start - 1, 1, "held")])).calls == set()
        assert size > 1


def test_a_newborn_stack_is_looked_up_again() -> None:
    """The map of a process is older than its newest thread."""
    with running(program("churn")) as target, Process(target.pid, images={}) as process:
        target.advance(Slot.STAGE, by=10)
        (libc,) = [item for item in process.linked_objects() if item.image.soname == "libc.so.6"]
        code = Ranges([(libc.bias + libc.image.start, libc.image.end - libc.image.start, "libc")])
        for _ in range(5):
            assert look_at_churn(process, code).calls


def look_at_churn(process: Process, ranges: Ranges) -> Watch:
    watch = Watch(process, ranges=ranges, inside=())
    run_tracing(lambda: while_standing(process.pid, look=watch.look, act=lambda: None))
    return watch


# The search for words


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0x10000, (1 << 47) - 1), st.integers(1, 1 << 25)), min_size=1, max_size=4
    ),
    st.data(),
)
def test_every_aligned_word_in_the_ranges_is_found(
    ranges: list[tuple[int, int]], data: st.DataObject
) -> None:
    bounds = [(start, start + size) for start, size in ranges]
    inside = st.sampled_from(bounds).flatmap(lambda bound: st.integers(bound[0], bound[1] - 1))
    anything = st.one_of(st.integers(0, 1 << 20), st.integers(0, (1 << 64) - 1), st.just(0))
    words = data.draw(st.lists(st.one_of(inside, anything), max_size=60))
    base = data.draw(st.sampled_from([0, 0x7FFC_0000_0000, 0x1004]))
    memory = b"".join(struct.pack("<Q", word) for word in words)
    if base % 8:
        memory = bytes(8 - base % 8) + memory
    cut = data.draw(st.integers(0, 7))
    memory = memory[: len(memory) - cut] if cut else memory
    first = -(-base // 8) * 8
    whole = (len(memory) - (first - base)) // 8
    found = dict(AddressSearch(bounds).words(base, memory))
    for index, word in enumerate(words[:whole]):
        if any(start <= word < end for start, end in bounds):
            assert found.get(first + 8 * index) == word
    for address, word in found.items():
        assert address % 8 == 0 and words[(address - first) // 8] == word


def test_empty_ranges_find_nothing() -> None:
    assert list(AddressSearch([]).words(0, bytes(100))) == []
    assert list(AddressSearch([(100, 100)]).words(0, bytes(100))) == []


def test_a_thread_without_a_stack() -> None:
    """A stack pointer that points nowhere is no reason to fail."""
    with Process(os.getpid(), images={}) as process:
        thread = Thread(threading.get_native_id())
        for pointer in (0, 8, arch.MASK64, 1 << 47):
            thread.registers[arch.RSP] = pointer
            thread.registers[arch.RIP] = 5
            thread.registers[arch.ORIG_RAX] = arch.MASK64
            watch = Watch(process, ranges=Ranges([(0, 100, "f")]), inside=())
            watch.look([thread])
            assert watch.sorted_calls == (BusyCall(function="f", thread=thread.tid),)


def test_a_system_call_that_would_be_made_again_counts() -> None:
    with Process(os.getpid(), images={}) as process:
        thread = Thread(threading.get_native_id())
        thread.registers[arch.RIP] = 1000
        thread.registers[arch.ORIG_RAX] = 0
        watch: Callable[[int], Watch] = lambda place: Watch(  # noqa: E731
            process, ranges=Ranges([(990, 50, "f")]), inside=(place,)
        )
        for place in (1000, 998):
            with pytest.raises(Momentary, match=re.escape("is at the entry of f")):
                watch(place).look([thread])
        thread.registers[arch.ORIG_RAX] = arch.MASK64
        watch(998).look([thread])
