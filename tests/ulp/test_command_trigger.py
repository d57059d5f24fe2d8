# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp trigger`` on real processes: what it prints and how it ends. What it does to them: tests/system."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host.terminal import sanitize
from tests.support.documentation import contradictions
from tests.support.livepatches import NEW, NEWER, OLD, ULP, Said, live_patch, ten_functions, ulp
from tests.support.targets import Slot, Target, answers_library, caller, held, running
from tests.support.users import NOBODY, ordinary_user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user")
NAME = f"libcommand{os.getpid()}.so.0"


@functools.cache
def library() -> Path:
    """A library that nobody else maps, so that every process of the machine can be asked."""
    return answers_library(name=NAME)


def container(first: int) -> Path:
    return ten_functions(first, library=library())


@contextmanager
def sleepers(count: int, *words: str) -> Iterator[list[Target]]:
    if not count:
        yield []
        return
    with running(caller(library()), *words) as one, sleepers(count - 1, *words) as others:
        yield sorted([one, *others], key=lambda target: target.pid)


@pytest.fixture(name="numbered")
def _numbered(tmp_path: Path) -> Path:
    """Live patches 9 and 10 of one library build in a directory."""
    for number, first in ((9, 200), (10, 300)):
        (tmp_path / "below").mkdir(exist_ok=True)
        shutil.copy(container(first), tmp_path / "below" / f"libanswers_livepatch{number}.so")
    return tmp_path / "below"


def test_every_user_of_the_library_in_the_order_of_pids() -> None:
    with sleepers(3) as targets:
        said = ulp("trigger", container(200))
        assert (said.status, said.stderr) == (0, "")
        *lines, others, total = said.stdout.splitlines()
        assert lines == [f"  caller (pid: {t.pid}): SUCCESS {container(200)}" for t in targets]
        assert re.fullmatch(rf"ulp: \d+ other processes do not use {NAME}\.", others) or "could" in others
        assert total == "ulp: Processes patched: 3, Skipped: 0, Failed: 0."
        assert [target.answers(10) for target in targets] == [NEW] * 3
        again = ulp("trigger", "-q", container(200))
        assert (again.status, again.stdout) == (0, "ulp: Processes patched: 0, Skipped: 3, Failed: 0.\n")
        back = ulp("trigger", "-q", "--revert", container(200))
        assert (back.status, back.stdout) == (0, "ulp: Processes patched: 3, Skipped: 0, Failed: 0.\n")


def test_one_process_step_by_step() -> None:
    with running(caller(library())) as target:
        pid = str(target.pid)

        def line(*words: str | Path) -> str:
            said = ulp("trigger", "-p", pid, *words)
            assert said.stderr == "" and said.status == 0
            first, total = said.stdout.splitlines()
            assert total.startswith("ulp: Processes ")
            return first.removeprefix(f"  caller (pid: {pid}): ")

        one, two = container(200), container(300)
        assert line("--dry-run", one) == f"SUCCESS would apply {one} (dry run)"
        assert target.answers(10) == OLD
        assert line(one) == f"SUCCESS {one}"
        assert line(one) == "SKIPPED Patch already applied"
        assert line("--revert-all=target", two) == f"SUCCESS {two}"
        assert target.answers(10) == NEWER
        assert line("--revert", two) == f"SUCCESS {two}"
        assert line("--revert", two) == "SKIPPED Patch not applied"
        assert line(two) and line(f"--revert-all={NAME}") == f"SUCCESS reverted all patches from '{NAME}'"
        assert line(f"--revert-all=/usr/lib64/{NAME}") == "SKIPPED No patches installed"
        assert target.answers(10) == OLD


def test_a_wildcard_applies_in_natural_order_and_names_each(numbered: Path) -> None:
    with running(caller(library())) as target:
        said = ulp("trigger", "-p", str(target.pid), f"{numbered}/*.so")
        assert said.stdout == (
            f"  caller (pid: {target.pid}):\n"
            f"    SUCCESS {numbered}/libanswers_livepatch9.so\n"
            f"    SUCCESS {numbered}/libanswers_livepatch10.so\n"
            "ulp: Processes patched: 1, Skipped: 0, Failed: 0.\n"
        )
        assert target.answers(10) == NEWER
        said = ulp("trigger", "-p", str(target.pid), "--revert", f"{numbered}/*.so")
        assert said.stdout.splitlines()[1:3] == [
            f"    SUCCESS {numbered}/libanswers_livepatch10.so",
            f"    SUCCESS {numbered}/libanswers_livepatch9.so",
        ]


def test_of_cumulative_containers_only_the_latest_is_applied(numbered: Path) -> None:
    with running(caller(library())) as target:
        words = [
            "trigger",
            "-v",
            "-p",
            str(target.pid),
            "--revert-all=target",
            "--recursive",
            f"{numbered.parent}/*.so",
        ]
        said = ulp(*words)
        left_out = "ulp: libanswers_livepatch9.so is left out, libanswers_livepatch10.so comes in its place"
        assert said.stdout.splitlines()[0] == left_out
        latest = f"  caller (pid: {target.pid}): SUCCESS {numbered}/libanswers_livepatch10.so"
        assert said.stdout.splitlines()[1] == latest
        assert target.answers(10) == NEWER


def test_verbose_tells_the_pause_and_the_functions() -> None:
    with running(caller(library()), "sleepers=3") as target:
        said = ulp("trigger", "-v", "-p", str(target.pid), container(200))
        _, pause, where, functions, _ = said.stdout.splitlines()
        assert re.match(r"      stood still for \d+ microseconds with \d+ threads", pause)
        assert where == f"      library: {library()}"
        assert functions.startswith("      functions: ") and "answer_9" in functions


def test_a_busy_function_is_named_with_its_thread() -> None:
    replacement = "long no_wait(void) { return 7; }\n"
    patch = live_patch(library(), replacement, {"held": "no_wait"}, name="held_livepatch1.so")
    with running(caller(library()), "busy") as target:
        target[Slot.HOLD] = 1
        target.until(lambda: target[Slot.INSIDE] == 1, "a thread inside held()")
        said = ulp("trigger", "-p", str(target.pid), patch)
        assert said.status == 0
        note = said.stdout.splitlines()[1]
        assert re.fullmatch(
            r"      1 call is still inside the old held and finishes there \(thread \d+\)", note
        )
        assert int(re.findall(r"\d+", note)[-1]) in target.threads()
        target[Slot.HOLD] = 0


def test_an_error_has_its_reason_a_hint_and_status_1() -> None:
    with running(caller(library())) as target, held(target.pid) as tracer:
        said = ulp("trigger", "-p", str(target.pid), container(200))
    assert said.status == 1
    first, total = said.stdout.splitlines()
    assert first.startswith(f"  caller (pid: {target.pid}): FAILED {container(200)}: ")
    assert str(tracer) in first
    assert total == "ulp: Processes patched: 0, Skipped: 0, Failed: 1."
    assert said.stderr == "hint: Detach the debugger or tracer and try again.\n"


def test_some_patched_and_some_not_is_a_status_of_its_own() -> None:
    with sleepers(2) as (one, two), held(one.pid):
        words = ["-p", str(one.pid), "-p", str(two.pid), str(container(200))]
        said = ulp("trigger", *words)
        assert said.status == 3
        assert said.stdout.splitlines()[-1] == "ulp: Processes patched: 1, Skipped: 0, Failed: 1."
        assert (one.answers(10), two.answers(10)) == (OLD, NEW)
        assert ulp("trigger", *words).status == 3  # patched before counts as patched
        assert ulp("trigger", "-p", str(one.pid), container(200)).status == 1


def test_processes_of_a_user() -> None:
    with running(caller(library())) as target:
        words = ["trigger", "-u", str(os.geteuid()), "-p", str(target.pid), str(container(200))]
        assert ulp(*words).status == 0
        assert target.answers(10) == NEW
        nobody = ["trigger", "--user=65534", "-p", str(target.pid), "--revert", str(container(200))]
        assert ulp(*nobody).status == 2
        assert target.answers(10) == NEW


def test_another_build_is_skipped_with_both_ids_and_named_it_is_no_match() -> None:
    with running(caller(answers_library("-DOTHER=1", name=NAME))) as target:
        said = ulp("trigger", "-p", str(target.pid), container(200))
        assert said.status == 2
        assert len(re.findall(r"\b[0-9a-f]{40}\b", said.stdout.splitlines()[0])) == 2


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["-p", "99999999"], 66, "there is no process 99999999"),
        (["-p", "no such process"], 2, "no process is called 'no such process'"),
        (["-r", "0"], 64, "-r/--retries: must be a whole number above 0, not '0'"),
        (["--timeout", "-1"], 64, "--timeout: must be a number of seconds, 0 or more, not '-1'"),
        (["--revert", "--revert-all=x"], 64, "--revert and --revert-all cannot be used together"),
        (["-v", "-q"], 64, "-v and -q contradict each other"),
        (["/nonexistent/x.so"], 66, "/nonexistent/x.so: No such file or directory"),
        (["/nonexistent/*.so"], 66, "there is no directory /nonexistent"),
        (["/proc"], 65, "/proc is a directory"),
        (["/dev/null"], 65, "/dev/null: a character device, not a file"),
    ],
)
def test_what_cannot_be_done_changes_nothing(words: list[str], status: int, sentence: str) -> None:
    said = ulp("trigger", container(200), *words)
    assert (said.status, said.stdout, said.stderr.splitlines()[0]) == (status, "", f"ulp: {sentence}")


def test_without_words_it_says_what_it_wants() -> None:
    for words in ([], ["--revert"], ["--revert-all=target"]):
        said = ulp("trigger", *words)
        assert (said.status, said.stdout) == (64, "")
        assert said.stderr.startswith(
            "ulp: name a container, a wildcard in quotes, or --revert-all=LIBRARY\n"
        )


def test_a_broken_container_among_good_ones_changes_nothing(numbered: Path) -> None:
    whole = (numbered / "libanswers_livepatch9.so").read_bytes()
    (numbered / "libanswers_livepatch11.so").write_bytes(whole[: len(whole) // 2])
    with running(caller(library())) as target:
        said = ulp("trigger", "-p", str(target.pid), f"{numbered}/*.so")
        assert (said.status, said.stdout) == (65, "")
        assert "livepatch11.so" in said.stderr and len(said.stderr.splitlines()) == 1
        assert target.answers(10) == OLD


def test_nobody_uses_it_is_fine_unless_somebody_was_named() -> None:
    assert ulp("trigger", "-q", container(200)).status == 0
    said = ulp("trigger", "-p", str(os.getpid()), container(200))
    assert said.status == 2
    assert f"(pid: {os.getpid()}): SKIPPED " in said.stdout


@needs_root
def test_an_ordinary_user_hears_what_it_could_not_see() -> None:
    with running(caller(library()), wrapper=NOBODY) as own, running(caller(library())) as other:
        said = ulp("trigger", container(200), prefix=ordinary_user())
        assert said.status == 0
        assert f"(pid: {own.pid}): SUCCESS" in said.stdout and str(other.pid) not in said.stdout
        assert re.search(
            r"\nulp: \d+ processes of other users could not be looked at; root can\.\n", said.stdout
        )
        said = ulp("trigger", "-p", str(other.pid), container(200), prefix=ordinary_user())
        assert said.status == 77
        assert f"(pid: {other.pid}): FAILED {container(200)}: " in said.stdout
        assert said.stderr == "hint: Try again as root.\n"


def test_a_hostile_process_name_stays_one_harmless_line(tmp_path: Path) -> None:
    program = tmp_path / "\x1b[2J\nPID: 1"
    shutil.copy(caller(library()), program)
    with running(program) as target:
        said = ulp("trigger", "-p", str(target.pid), container(200))
    name = sanitize("\x1b[2J\nPID: 1")
    line = f"  {name} (pid: {target.pid}): SUCCESS {container(200)}"
    assert said.stdout.splitlines()[0] == line
    assert all(each.isprintable() for each in said.stdout.splitlines())


def test_colors_on_request_only() -> None:
    with running(caller(library())) as target:
        plain = ulp("trigger", "-p", str(target.pid), "--dry-run", container(200))
        painted = ulp("trigger", "-p", str(target.pid), "--dry-run", "--color=yes", container(200))
    assert "\x1b" not in plain.stdout
    assert painted.stdout == plain.stdout.replace(" SUCCESS", "\x1b[32;1m SUCCESS\x1b[0m")


def test_json_has_the_containers_the_results_and_the_counts(numbered: Path) -> None:
    with running(caller(library()), "sleepers=2") as target:
        words = ["trigger", "--json", "-p", str(target.pid), "--revert-all=target", f"{numbered}/*.so"]
        said = ulp(*words)
    document = json.loads(said.stdout)
    assert (document["schema"], document["version"]) == ("zypp-livepatch/ulp-trigger", 1)
    assert contradictions(document) == []
    nine, ten = document["containers"]
    assert (nine["superseded_by"], ten["superseded_by"]) == (ten["path"], None)
    assert len(bytes.fromhex(ten["patch_id"])) == 32 and len(bytes.fromhex(ten["build_id"])) == 20
    (row,) = document["results"]
    assert (row["pid"], row["name"], row["outcome"], row["reason"]) == (
        target.pid,
        "caller",
        "SUCCESS",
        "applied",
    )
    assert row["container"] == ten["path"] and row["library"] == str(library())
    assert 0 < row["pause"] < 5 and row["threads"] == 3 and len(row["functions"]) == 10
    counts = {"patched": 1, "skipped": 0, "failed": 0, "not_concerned": 0, "looked_at": 1, "unseen": 0}
    assert document["processes"] == counts


def test_a_full_disk_under_the_report_is_not_silent() -> None:
    with running(caller(library())) as target:
        command = [str(ULP), "trigger", "-p", str(target.pid), str(container(200))]
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
        said = Said(status=done.returncode, stderr=done.stderr)
    assert (said.status, said.stderr) == (
        73,
        "ulp: standard output cannot be written: No space left on device\n",
    )
