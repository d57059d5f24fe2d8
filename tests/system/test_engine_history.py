# SPDX-License-Identifier: GPL-2.0-or-later
"""One process, many changes: order, replacing, repeating, two at once, dry runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.livepatches import (
    ALREADY,
    NEW,
    NEWER,
    OLD,
    REVERTED,
    SUCCESS,
    ULP,
    change,
    live_patch,
    ten_functions,
    trigger,
    ulp,
)
from tests.support.targets import (
    TEN_CALLS,
    Slot,
    Target,
    answers_library,
    caller,
    compiled,
    program,
    running,
)


def three_functions(first: int) -> Path:
    """A container that changes a part of the functions only."""
    return ten_functions(first, count=3)


def applied(target: Target) -> list[str]:
    """Base names of the live patches that ``ulp patches`` lists, in its order."""
    said = ulp("patches", "-p", str(target.pid))
    assert said.status == 0, said
    words = [line.split() for line in said.stdout.splitlines() if line.strip().startswith("livepatch: ")]
    return [word[1] for word in words]


def test_revert_of_what_is_not_applied() -> None:
    with running(caller(answers_library())) as target:
        before = target.private_code()
        said = trigger(target, "--revert", ten_functions(200))
        assert said.verdict == ("SKIPPED", "not-applied")
        said = trigger(target, "--revert-all=libanswers.so.0")
        assert said.verdict == ("SKIPPED", "not-applied")
        assert target.private_code() == before


def test_revert_leaves_the_code_as_it_was() -> None:
    with running(caller(answers_library())) as target:
        before = target.private_code()
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        assert target.private_code() != before
        assert trigger(target, "--revert", ten_functions(200)).verdict == REVERTED
        after = target.private_code()
        assert {line: code for line, code in after.items() if line in before} == before


def test_a_library_that_was_unloaded_has_lost_its_live_patches() -> None:
    """It comes back from its file, mostly to its old place, where the records say that it is patched."""
    first, second = ten_functions(200), three_functions(300)
    opener = compiled("caller.c", TEN_CALLS, f'-DWITH_OPEN="{answers_library()}"', name="opener")
    with running(opener) as target:
        assert trigger(target, first).verdict == SUCCESS
        assert trigger(target, second).verdict == SUCCESS
        target[Slot.STAGE] = 7
        target.until(lambda: target[Slot.STAGE] == 0, "the library's end")
        assert applied(target) == []
        target[Slot.STAGE] = 8
        target.until(lambda: target[Slot.STAGE] == 0, "the library's return")
        assert target.answers(10) == OLD
        assert applied(target) == []
        assert ulp("check", "-p", str(target.pid), first).status == 1
        assert trigger(target, "--revert", second).verdict == ("SKIPPED", "not-applied")
        assert trigger(target, first).verdict == SUCCESS
        assert target.answers(10) == NEW
        assert applied(target) == [first.name]
        assert trigger(target, "--revert", first).verdict == REVERTED
        assert target.answers(10) == OLD


FLICKER = """
#include "board.h"
#include <dlfcn.h>
static void *flicker(void *unused) {
    for (int other = 0;; other = !other) {
        void *library = dlopen(other ? OTHER_LIBRARY : LIBRARY, RTLD_NOW);
        if (!library) die("dlopen");
        long (*answer)(void) = (long (*)(void))dlsym(library, "answer_0");
        for (int i = 0; i < 10; i++, nap(100))
            if (answer() != 100 && (other || answer() != 200)) ADD(ERRORS, 1);
        if (dlclose(library)) die("dlclose");
        ADD(ROUNDS, 1);
    }
    return unused;
}
int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    if (pthread_create(&thread, NULL, flicker, NULL)) die("thread");
    board_ready();
    for (;;) nap(3600 * 1000000L);
}
"""


def test_a_library_that_is_unloaded_at_any_moment() -> None:
    """What is lent by the process for the change must not go away, and another build in its place stays as it is."""
    other = answers_library("-DOTHER=1")
    words = f'-DLIBRARY="{answers_library()}"', f'-DOTHER_LIBRARY="{other}"'
    flicker = compiled(FLICKER, *words, name="flicker")
    for _ in range(8):
        with running(flicker) as target:
            for _ in range(3):
                change(target, ten_functions(200))
                target.advance()
            assert target[Slot.ERRORS] == 0


def test_live_patches_stack_and_come_off_in_order() -> None:
    first, second, third = ten_functions(200), three_functions(300), three_functions(400)
    with running(caller(answers_library())) as target:
        for container in (first, second, third):
            assert trigger(target, container).verdict == SUCCESS
        assert target.answers(10) == (400, 401, 402, *NEW[3:])
        assert len(applied(target)) == 3
        for wrong in (first, second):
            said = trigger(target, "--revert", wrong)
            assert said.verdict == ("ERROR", "out-of-order"), said
            assert said.status != 0
            assert target.answers(10) == (400, 401, 402, *NEW[3:])
        assert trigger(target, first).verdict == ALREADY
        assert trigger(target, "--revert", third).verdict == REVERTED
        assert target.answers(10) == (300, 301, 302, *NEW[3:])
        assert trigger(target, "--revert", second).verdict == REVERTED
        assert target.answers(10) == NEW
        assert trigger(target, "--revert", first).verdict == REVERTED
        assert target.answers(10) == OLD
        assert applied(target) == []


def test_revert_all_of_a_library() -> None:
    with running(caller(answers_library())) as target:
        for container in (ten_functions(200), three_functions(300)):
            assert trigger(target, container).verdict == SUCCESS
        said = trigger(target, "--revert-all=libother.so.0")
        assert said.row["outcome"] == "SKIPPED"
        assert target.answers(10) == (300, 301, 302, *NEW[3:])
        said = trigger(target, "--revert-all=libanswers.so.0")
        assert said.verdict == REVERTED
        assert len(said.row["reverted"]) == 2
        assert target.answers(10) == OLD


def test_replacing_is_one_change() -> None:
    """No round of the program sees old code between the two live patches."""
    with running(caller(answers_library()), "nap=0") as target:
        for container in (ten_functions(200), three_functions(250)):
            assert trigger(target, container).verdict == SUCCESS
        said = trigger(target, "--revert-all=target", ten_functions(300))
        assert said.verdict == ("SUCCESS", "replaced")
        assert len(said.row["reverted"]) == 2
        assert target.answers(10) == NEWER
        assert applied(target) == [ten_functions(300).name]
        for first, words in ((200, NEW), (300, NEWER)) * 3:
            assert trigger(target, "--revert-all=target", ten_functions(first)).row["outcome"] == "SUCCESS"
            assert target.answers(10) == words
        assert trigger(target, "--revert", ten_functions(300)).verdict == REVERTED
        assert target.answers(10) == OLD


def test_replacing_by_what_is_refused_keeps_the_old_live_patch() -> None:
    broken = live_patch(
        answers_library(),
        "extern long nowhere(void);\nlong replacement(void) { return nowhere(); }",
        {"answer_0": "replacement"},
        name="broken.so",
        flags=["-Wl,-z,undefs"],
    )
    with running(caller(answers_library())) as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        assert trigger(target, "--revert-all=target", broken).verdict == ("ERROR", "unresolved-symbol")
        assert target.answers(10) == NEW
        assert applied(target) == [ten_functions(200).name]


def test_a_live_patch_without_functions() -> None:
    """As the first of a package is that has no fix yet; a later one is how a package takes a fix back."""
    empty = live_patch(answers_library(), "long unused;\n", {}, name="empty.so")
    with running(caller(answers_library())) as target:
        before = target.private_code()
        assert trigger(target, empty).verdict == ("SKIPPED", "nothing-to-change")
        assert trigger(target, "--revert-all=target", "--dry-run", empty).verdict[0] == "SKIPPED"
        assert target.private_code() == before
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        said = trigger(target, "--revert-all=target", empty)
        assert said.verdict == REVERTED and len(said.row["reverted"]) == 1, said
        assert target.answers(10) == OLD
        assert applied(target) == []


def test_replacing_where_nothing_was_applied_is_an_apply() -> None:
    with running(caller(answers_library())) as target:
        assert trigger(target, "--revert-all=target", ten_functions(200)).verdict == SUCCESS
        assert target.answers(10) == NEW


def test_dry_run_changes_nothing() -> None:
    with running(caller(answers_library()), "sleepers=3") as target:
        maps, code = target.maps(), target.private_code()
        said = trigger(target, "--dry-run", ten_functions(200))
        assert said.verdict == ("SUCCESS", "would-change"), said
        assert (target.maps(), target.private_code()) == (maps, code)
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        maps, code = target.maps(), target.private_code()
        assert trigger(target, "--dry-run", "--revert", ten_functions(200)).verdict == (
            "SUCCESS",
            "would-change",
        )
        assert trigger(target, "--dry-run", ten_functions(200)).verdict == ALREADY
        assert (target.maps(), target.private_code()) == (maps, code)
        assert target.answers(10) == NEW


def test_two_at_once_wait_for_each_other() -> None:
    containers = [
        ten_functions(first, count=10, name=f"concurrent{first}.so") for first in (200, 300, 400, 500)
    ]
    with running(caller(answers_library()), "sleepers=8") as target:
        for _ in range(3):
            at_once = [
                subprocess.Popen(
                    [ULP, "trigger", "-p", str(target.pid), "--json", container],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for container in containers
            ]
            ends = [(process.communicate(timeout=30), process.returncode) for process in at_once]
            assert [status for _, status in ends] == [0] * 4, ends
            assert len(applied(target)) == 4
            answers = target.answers(10)
            assert answers == tuple(range(answers[0], answers[0] + 10)), "one of them wholly"
            assert trigger(target, "--revert-all=libanswers.so.0").verdict == REVERTED
            assert target.answers(10) == OLD
            assert target.tracer() == 0


def test_memory_is_bounded_over_200_changes() -> None:
    """Applied and reverted on a busy target: what the first few need is what all need."""
    container = ten_functions(200)
    with running(program("registers"), "integer=1", "vector=1") as target:
        for _ in range(5):
            assert change(target, container) == SUCCESS
            assert change(target, container, revert=True) == REVERTED
        before = _memory(target)
        for _ in range(100):
            assert change(target, container) == SUCCESS
            assert change(target, container, revert=True) == REVERTED
        after = _memory(target)
        assert target[Slot.ERRORS] == 0
        assert after["maps"] <= before["maps"] + 4, (before, after)
        assert after["VmSize"] <= before["VmSize"] + 64, (before, after)
        assert after["RssAnon"] <= before["RssAnon"] + 64, (before, after)


def _memory(target: Target) -> dict[str, int]:
    """Sizes in kB, and the number of mappings."""
    status = Path(f"/proc/{target.pid}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in status if line.endswith(" kB")}
    return {**sizes, "maps": len(target.maps().splitlines())}
