# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that preload libpulp are patched through it, and libpulp's own tool agrees."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import libpulp
from tests.support.images import loading
from tests.support.libpulp import PEER, needs_libpulp, padded_library, preloaded, stand_in
from tests.support.livepatches import (
    NEW,
    NEWER,
    OLD,
    REVERTED,
    SUCCESS,
    Way,
    change,
    live_patch,
    ten_functions,
    trigger,
    ulp,
)
from tests.support.pretender import Patch, pretended
from tests.support.targets import Slot, Target, caller, compiled, program, running
from tests.system.test_engine_transparency import assert_no_expiration_lost
from ulp import fleet
from ulp.container import read as read_container
from ulp.engines import Change, EngineName, Settings
from ulp.engines.pulp import call
from ulp.result import Outcome

NAME = f"libpulpengine{os.getpid()}.so.0"
REPLACED = ("SUCCESS", "replaced")
FIX = "long new_0(void) { return 500; }\n"

# one thread calls, the other loads a library each time it is told to
LOADER = r"""
#include "board.h"
#include <dlfcn.h>
long answer_0(void);
volatile long shared_rounds;
static void *load(void *unused) {
    for (;;) {
        shared_rounds++;
        if (GET(STAGE) > GET(SENT)) {
            void *library = dlopen("libutil.so.1", RTLD_NOW);
            if (library) dlclose(library);
            SET(SENT, GET(STAGE));
        }
        nap(1000);
    }
    return unused;
}
int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    pthread_create(&thread, 0, load, 0);
    board_ready();
    for (;;) {
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        nap(1000);
    }
}
"""


@pytest.fixture
def library() -> Path:
    return padded_library(name=NAME)


@contextmanager
def through_libpulp(program: Path, *words: str) -> Iterator[Target]:
    """Start a target that preloads libpulp, or what stands in for it."""
    with running(
        program, *words, environment={"LD_PRELOAD": str(PEER.library if PEER else stand_in())}
    ) as target:
        yield target


def traced(target: Target) -> list[str]:
    """The threads of a process that somebody traces."""
    return [
        path.parent.name
        for path in Path(f"/proc/{target.pid}/task").glob("*/status")
        if "\nTracerPid:\t0\n" not in path.read_text()
    ]


def held(target: Target) -> list[str]:
    """The containers that a process holds, by what ``ulp patches`` shows."""
    document = json.loads(ulp("patches", "--json", "-p", str(target.pid)).stdout)
    return [Path(patch["container"]).name for patch in document["processes"][0]["patches"]]


@needs_libpulp
@pytest.mark.parametrize("words", [(), ("sleepers=7",)])
def test_both_tools_on_one_process(library: Path, words: tuple[str, ...]) -> None:
    first, second = ten_functions(500, library=library), ten_functions(700, library=library)
    with preloaded(caller(library), *words) as process:
        said = trigger(process, first)
        assert said.verdict == SUCCESS, said
        assert said.row["engine"] == "pulp"
        assert process.answers(10) == tuple(range(500, 510))
        assert first.name in libpulp.libpulp("patches", "-p", str(process.pid)).stdout
        libpulp.apply(process, second)
        assert process.answers(10) == tuple(range(700, 710))
        assert ulp("check", "-p", str(process.pid), second).status == 0
        said = trigger(process, "--revert", second)
        assert said.verdict == REVERTED, said
        assert process.answers(10) == tuple(range(500, 510))
        libpulp.revert(process, first)
        assert process.answers(10) == OLD
        assert trigger(process, "--revert", first).verdict == ("SKIPPED", "not-applied")


@pytest.mark.parametrize("flags", [(), ("-fcf-protection=full",)])
def test_the_libpulp_that_long_running_processes_have(flags: tuple[str, ...]) -> None:
    """0.3.0 lays its queue out in another way, keeps no times, and diverts in two writes."""
    library = padded_library(*flags, name=f"libold{len(flags)}{NAME}")
    first, second = ten_functions(200, library=library), ten_functions(300, library=library)
    with running(caller(library), environment={"LD_PRELOAD": str(stand_in("-DOLD"))}) as process:
        for container, answers in ((first, NEW), (second, NEWER)):
            assert trigger(process, "--engine=pulp", container).verdict == SUCCESS
            assert process.answers(10) == answers
        assert held(process) == [first.name, second.name]
        assert "loaded on" not in ulp("patches", "-p", str(process.pid)).stdout
        assert trigger(process, "--engine=pulp", "--revert", first).verdict == REVERTED
        assert process.answers(10) == NEWER
        assert trigger(process, "--engine=pulp", f"--revert-all={library.name}").verdict == REVERTED
        assert process.answers(10) == OLD


def test_writes_that_are_refused_are_not_left_in_the_queue(library: Path) -> None:
    """Neither those of the live patch nor those of taking it back: libpulp would refuse all that comes later."""
    with running(caller(library), environment={"LD_PRELOAD": str(stand_in("-DSTRANGE"))}) as process:
        for container in (ten_functions(200, library=library), ten_functions(300, library=library)):
            said = trigger(process, "--engine=pulp", "-r", "100", container)
            assert said.verdict == ("ERROR", "libpulp") and "foreign code" in said.row["detail"], said
            assert process.answers(10) == OLD
            assert held(process) == []


def test_an_older_live_patch_comes_off_below_a_newer_one(library: Path) -> None:
    first, second = ten_functions(500, library=library), ten_functions(700, library=library)
    with through_libpulp(caller(library)) as process:
        assert trigger(process, first).verdict == trigger(process, second).verdict == SUCCESS
        assert trigger(process, "--revert", first).verdict == REVERTED
        assert process.answers(10) == tuple(range(700, 710))
        assert trigger(process, "--revert", second).verdict == REVERTED
        assert process.answers(10) == OLD


def test_one_container_in_the_place_of_all(library: Path) -> None:
    first, second = ten_functions(500, library=library), ten_functions(700, library=library)
    third = ten_functions(200, library=library)
    with through_libpulp(caller(library)) as process:
        assert trigger(process, first).verdict == SUCCESS
        assert trigger(process, second).verdict == SUCCESS
        said = trigger(process, "--revert-all=target", third)
        assert said.verdict == REPLACED, said
        assert said.row["reverted"] == [second.name, first.name]
        assert process.answers(10) == NEW
        assert trigger(process, f"--revert-all={library.name}").verdict == REVERTED
        assert process.answers(10) == OLD


@pytest.mark.parametrize("state", [{"error": 282}, {"error": None}, {"loaded": False}], ids=str)
def test_what_cannot_be_used_matters_only_where_it_is_to_change(library: Path, state: Any) -> None:
    """As when everything is to be taken back everywhere, and some process has a libpulp that has failed."""
    container = ten_functions(500, library=library)
    with loading(pretended(Patch(), **state)) as pid:
        assert trigger(pid, "--revert", container).verdict == ("SKIPPED", "not-applied")


def test_a_process_that_cannot_be_patched_keeps_nobody_from_it(library: Path) -> None:
    """libpulp's own tool stops there, with status 0 and without a word of those that it did not reach."""
    container = ten_functions(500, library=library)
    words = (f"-Wl,-rpath,{library.parent}", "-Wl,--no-as-needed", str(library))
    with (
        loading(pretended(loaded=False, flags=words)) as odd,
        through_libpulp(caller(library)) as process,
    ):
        said = ulp("trigger", "--json", "--timeout=1", "-r", "100", container)
        verdicts = {row["pid"]: (row["outcome"], row["reason"]) for row in said.rows}
        assert verdicts.keys() == {odd, process.pid} and verdicts[process.pid] == SUCCESS, said
        assert process.answers(10) == tuple(range(500, 510))


def test_what_a_failed_libpulp_holds_stays(library: Path) -> None:
    container = ten_functions(500, library=library)
    with loading(pretended(Patch(id=read_container(container).patch_id), error=282)) as pid:
        assert trigger(pid, "--revert", container).verdict == ("ERROR", "libpulp")


@needs_libpulp
def test_a_live_patch_without_functions(library: Path) -> None:
    empty = live_patch(library, "long unused;\n", {}, name="empty.so")
    with through_libpulp(caller(library)) as process:
        assert trigger(process, empty).verdict == SUCCESS
        assert empty.name in libpulp.libpulp("patches", "-p", str(process.pid)).stdout
        assert trigger(process, "--revert", empty).verdict == REVERTED
        libpulp.apply(process, empty)
        assert ulp("check", "-p", str(process.pid), empty).status == 0
        assert process.answers(10) == OLD


@pytest.mark.parametrize(
    ("constructor", "reason"), [("for (;;) pause();", "no-end"), ("*(volatile int *)8 = 1;", "libpulp")]
)
def test_a_constructor_that_does_not_return(library: Path, constructor: str, reason: str) -> None:
    """The process goes on, its other threads may load libraries, and libpulp takes other live patches."""
    bad = live_patch(
        library,
        f"#include <unistd.h>\n__attribute__((constructor)) static void stay(void) {{ {constructor} }}\n{FIX}",
        {"answer_0": "new_0"},
        name="stays_livepatch1.so",
    )
    good = live_patch(library, FIX, {"answer_0": "new_0"}, name="good_livepatch2.so")
    with through_libpulp(compiled(LOADER, "-pthread", name="loader", libraries=[library])) as process:
        said = trigger(process, "--engine=pulp", "--timeout", "1", bad)
        assert said.verdict == ("ERROR", reason), said
        assert process.answers() == OLD[:1]
        process[Slot.STAGE] += 1
        process.until(lambda: process[Slot.SENT] == process[Slot.STAGE], "another thread to load a library")
        assert set(process.threads().values()) <= {"S", "R"}
        assert held(process) == []
        assert trigger(process, "--engine=pulp", good).verdict == SUCCESS
        assert process.answers() == (500,)
        process[Slot.STAGE] += 1
        process.until(lambda: process[Slot.SENT] == process[Slot.STAGE], "another thread to load a library")


def test_a_constructor_that_waits_for_another_thread(library: Path) -> None:
    """It could wait for ever while all threads stand; so they are let go after a moment."""
    source = f"""
    #include <unistd.h>
    extern volatile long shared_rounds;
    __attribute__((constructor)) static void wait(void) {{
        long then = shared_rounds;
        while (shared_rounds < then + 5) usleep(1000);
    }}
    {FIX}"""
    container = live_patch(library, source, {"answer_0": "new_0"}, name="waits_livepatch1.so")
    with through_libpulp(
        compiled(LOADER, "-pthread", "-rdynamic", name="loader", libraries=[library])
    ) as process:
        said = trigger(process, "--engine=pulp", container)
        assert said.verdict == SUCCESS, said
        assert process.answers() == (500,)


def test_children_that_end_while_a_constructor_runs_interrupt_nobody(library: Path) -> None:
    """Their SIGCHLD is ignored, but the kernel keeps for a thread that is traced what it would drop otherwise.

    That would be nearly as many waits as children. What is left on a busy machine: one that ends while its parent is
    stopped for the one before.
    """
    slow = "#include <unistd.h>\n__attribute__((constructor)) static void rest(void) { usleep(200000); }\n"
    container = live_patch(library, slow + FIX, {"answer_0": "new_0"}, name="rests_livepatch1.so")
    with through_libpulp(program("parent", library), "main", "brood=40", "life=5000") as process:
        process.until(lambda: process[Slot.SENT] > 0, "the first child to end")
        for words, verdict in (((), SUCCESS), (("--revert",), REVERTED)):
            assert trigger(process, "--engine=pulp", *words, container).verdict == verdict
        process.advance(Slot.CHECKS, by=2)
        assert process[Slot.INTERRUPTED] <= 4


@pytest.mark.parametrize("ending", ["pthread_join(thread, 0)", "pthread_detach(thread)"])
def test_a_constructor_that_starts_a_thread(library: Path, ending: str) -> None:
    """The kernel makes ulp the tracer of it; it has to be let go at once, the constructor may wait for it."""
    source = f"""
    #include <pthread.h>
    #include <unistd.h>
    static void *work(void *unused) {{ {"for (;;) pause()" if "detach" in ending else ""}; return unused; }}
    __attribute__((constructor)) static void start(void) {{
        pthread_t thread;
        for (int i = 0; i < 3; i++) if (!pthread_create(&thread, 0, work, 0)) {ending};
    }}
    {FIX}"""
    container = live_patch(library, source, {"answer_0": "new_0"}, name="starts_livepatch1.so")
    with through_libpulp(caller(library)) as process:
        assert trigger(process, "--engine=pulp", "--timeout", "20", container).verdict == SUCCESS
        assert process.answers(1) == (500,)
        assert len(process.threads()) == (4 if "detach" in ending else 1)
        assert set(process.threads().values()) <= {"S", "R"} and not traced(process)
        assert trigger(process, "--engine=pulp", "--revert", container).verdict == REVERTED


def test_a_constructor_that_starts_threads_and_never_returns(library: Path) -> None:
    """However far the creation of a thread was, the process gets back what it had, and none stays traced."""
    source = f"""
    #include <pthread.h>
    static void *work(void *unused) {{ return unused; }}
    __attribute__((constructor)) static void start(void) {{
        pthread_t thread;
        for (;;) if (!pthread_create(&thread, 0, work, 0)) pthread_join(thread, 0);
    }}
    {FIX}"""
    container = live_patch(library, source, {"answer_0": "new_0"}, name="starts_livepatch2.so")
    with through_libpulp(caller(library)) as process:
        said = trigger(process, "--engine=pulp", "--timeout", "1", container)
        assert said.verdict == ("ERROR", "no-end"), said
        assert process.answers(10) == OLD
        assert not traced(process)
        process.until(lambda: set(process.threads().values()) <= {"S", "R"}, "all threads to run")


def test_what_libpulp_cannot_is_done_from_outside(tmp_path: Path, library: Path) -> None:
    """A container that the process does not see under its path."""
    with through_libpulp(caller(library)) as process:
        said = trigger(process, "-R", "/nowhere", ten_functions(200, library=library))
        assert said.verdict == SUCCESS, said
        assert said.row["engine"] == "direct"
        assert process.answers(10) == NEW


@needs_libpulp
def test_a_filter_that_forbids_to_load_code_does_not_forbid_to_take_back(library: Path) -> None:
    container = ten_functions(200, library=library)
    for filtered, can_revert in (("seccomp-exec-kill", True), ("seccomp-mmap-trap", False)):
        with preloaded(caller(library), filtered) as target:
            words = ("trigger", "-p", str(target.pid), "-r", "1000", "--engine=pulp")
            refused = ulp(*words, container)
            assert refused.status == 1 and "forbids mmap, and libpulp has to load" in refused.stdout
            assert ulp(*words, "--disable-seccomp", container).status == 0
            assert target.answers(10) == NEW
            said = ulp(*words, "--revert", container)
            assert (said.status == 0) == can_revert, said
            assert can_revert or "forbids mmap, and libpulp may have to allocate memory" in said.stdout
            assert target.answers(10) == (OLD if can_revert else NEW)


@needs_libpulp
def test_another_build_is_refused_before_anything_is_touched(library: Path) -> None:
    other = padded_library("-DOTHER", name=NAME)
    with through_libpulp(caller(library)) as process:
        before = ulp("messages", "-p", str(process.pid)).stdout
        said = trigger(process, "--engine=pulp", ten_functions(200, library=other))
        assert said.verdict == ("SKIPPED", "build-id-mismatch"), said
        assert ulp("messages", "-p", str(process.pid)).stdout == before
        assert process.answers(10) == OLD


@pytest.mark.parametrize("interval", [200, 1000])
def test_a_timer_that_never_rests(library: Path, interval: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 of 80; libpulp's own tool takes a signal for the end of its call."""
    monkeypatch.setattr(Way, "engine", EngineName.PULP)
    first = ten_functions(200, library=library)
    with through_libpulp(program("timers", library), f"interval={interval}") as process:
        for _ in range(40):
            assert change(process, first) == SUCCESS
            assert process.answers() == NEW[:1]
            assert change(process, first, revert=True) == REVERTED
            assert process.answers() == OLD[:1]
        assert set(process.threads().values()) <= {"S", "R"}


def test_a_tool_that_comes_late(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has gone back by itself and meets its signals; they are delivered, with how many they stand for."""
    wait = call.Caller.wait

    def late(caller: call.Caller, *words: Any, **more: Any) -> int | None:
        time.sleep(0.15)
        return wait(caller, *words, **more)

    monkeypatch.setattr(call.Caller, "wait", late)
    with through_libpulp(program("timers", library), "interval=1000", "spin") as target:
        target.advance(Slot.HANDLED, by=50)
        for first in (200, 300, 200):
            replacing = Change(
                apply=read_container(ten_functions(first, library=library)), revert_target=True
            )
            survey = fleet.change([replacing], settings=Settings(engine=EngineName.PULP), pids=[target.pid])
            assert [result.outcome for result in survey.results] == [Outcome.SUCCESS], survey
            assert target.answers() == (first,)
            assert_no_expiration_lost(target, 1000)
