# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that start after the live patch: real kernel events, real processes, packages that zypper installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from host import procfs
from tests.support.commits import FIRST, OLD, PACKAGE, SECOND, packages, target
from tests.support.documentation import contradictions
from tests.support.livepatches import ulp
from tests.support.sandbox import PROJECT, Sandbox, sandbox
from tests.support.watching import untold, watching
from ulp.watch.births import EXEC, EXIT, FORK, Births, Lost

EXCLUDE = "etc/zypp-livepatch/exclude.d/test.conf"


@pytest.fixture(scope="module", autouse=True)
def told() -> None:
    """Without events about processes there is nothing to test."""
    if why := untold():
        pytest.skip(why)


@pytest.fixture(scope="module")
def machine() -> Iterator[Sandbox]:
    """A sandbox with the first live patch installed."""
    with sandbox() as made:
        made.add_packages(*packages())
        made.zypper("install", f"{PACKAGE}=1")
        yield made


def test_who_starts_later_is_patched_and_nobody_twice(machine: Sandbox) -> None:
    with target() as before, watching(machine) as watch:
        assert before.answers()[0] == FIRST
        delays = []
        with ExitStack() as stack:
            later = [stack.enter_context(target()) for _ in range(4)]
            for process in later:
                event = watch.patched(process)
                delays.append(event["delay"])
                assert contradictions(event) == []
            assert sorted(delays)[1] < 2.0  # mostly some hundredths; a busy machine takes longer
            said = ulp_status(machine, later[0].pid)
            assert said["watcher"]["pid"] == watch.process.pid
            assert said["watcher"]["patched"] == 5
            watch.process.kill()  # it has no time to say goodbye
            watch.process.wait()
            assert ulp_status(machine, later[0].pid)["watcher"] is None
            with watching(machine) as second:
                assert not [event for event in second.end() if event["event"] == "patched"]
                assert {event["event"] for event in second.events} == {"watching", "survey"}
            patches = json.loads(machine.run("ulp", "patches", "--json", "-p", str(later[0].pid)).output)
            assert len(patches["processes"][0]["patches"]) == 1


def test_nobody_waits_for_the_next_look_at_somebody_else(machine: Sandbox) -> None:
    with watching(machine) as watch, target() as first, ExitStack() as stack:
        watch.patched(first)
        time.sleep(1.1)  # the next look at it is the last one, two seconds after its start
        later = [stack.enter_context(target()) for _ in range(3)]
        assert min(watch.patched(process)["delay"] for process in later) < 0.5


def ulp_status(machine: Sandbox, pid: int) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        machine.run("ulp", "status", "--json", "-p", str(pid), check=False).output
    )
    assert contradictions(said) == []
    return said


def test_only_one_at_a_time(machine: Sandbox) -> None:
    with watching(machine) as watch:
        second = machine.run("ulp", "watch", check=False)
        assert second.status == 75
        assert f"a watcher runs already, process {watch.process.pid}" in second.errors
        assert "and has patched" in machine.run("ulp", "status", check=False).output
    assert "processes that start later are not patched" in machine.run("ulp", "status", check=False).output


def test_it_keeps_no_privilege_that_it_does_not_need(machine: Sandbox) -> None:
    with watching(machine) as watch:
        status = procfs.status(watch.process.pid)
        needed = 1 << 1 | 1 << 2 | 1 << 19
        assert {status[f"Cap{kind}"] for kind in ("Prm", "Eff", "Bnd")} == {f"{needed:016x}"}
        assert status["NoNewPrivs"] == "1"
        from tests.support.commits import LIBRARY
        from tests.support.targets import answers_library, caller, running
        from tests.support.users import user

        with running(caller(answers_library(name=LIBRARY)), wrapper=user(54321)) as process:
            watch.patched(process)


def test_a_library_that_is_loaded_long_after_the_start(machine: Sandbox, tmp_path: Path) -> None:
    from tests.support.commits import LIBRARY
    from tests.support.targets import answers_library

    library = answers_library(name=LIBRARY)
    script = f"""
import ctypes, sys, time
sys.stdin.readline()
library = ctypes.CDLL({str(library)!r})
print(library.answer_0(), flush=True)
while library.answer_0() == {OLD}: time.sleep(0.01)
print(library.answer_0(), flush=True)
"""
    # somebody who has mapped it is how the watcher knows the file, which is in no usual place
    with target() as known, watching(machine) as watch:
        assert known.answers()[0] == FIRST
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin and process.stdout
            time.sleep(2.5)  # longer than a new process is looked at
            process.stdin.write("\n")
            process.stdin.flush()
            watch.until("patched", pid=process.pid)
            process.stdout.readline()
            assert int(process.stdout.readline()) == FIRST


def test_a_child_that_was_born_before_its_parent_was_patched(machine: Sandbox, tmp_path: Path) -> None:
    """Nothing is executed in a fork: the kernel tells of it all the same, and the parent may be gone by then."""
    from tests.support.commits import LIBRARY
    from tests.support.targets import answers_library

    library = answers_library(name=LIBRARY)
    script = f"""
import ctypes, os, time
library = ctypes.CDLL({str(library)!r})
if os.fork(): os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
while library.answer_0() == {OLD}: time.sleep(0.01)
print(library.answer_0(), flush=True)
"""
    with watching(machine) as watch:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        with process.stdout as output:
            child = int(output.readline())
            watch.until("patched", pid=child)
            assert int(output.readline()) == FIRST
        process.wait()


def test_a_storm_of_short_processes_hides_nobody_and_costs_little(machine: Sandbox) -> None:
    with watching(machine) as watch, ExitStack() as stack:
        before, began = watch.seconds(), time.monotonic()
        storm = subprocess.Popen(["sh", "-c", "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done"])
        stack.callback(storm.wait)
        assert storm.wait(300) == 0
        share = (watch.seconds() - before) / (time.monotonic() - began)
        # a sanity bound: other tests run meanwhile, the number is for the benchmark
        assert share < 0.2, share
        storm = subprocess.Popen(["sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done"])
        stack.callback(storm.wait)
        living = [stack.enter_context(target()) for _ in range(8)]
        for process in living:
            process.until(lambda process=process: process.answers()[0] == FIRST, "patched")  # type: ignore[misc]


def test_what_the_kernel_could_not_tell_is_made_up_for(machine: Sandbox) -> None:
    """A watcher with no room for events stands still while processes start."""
    program = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
import os, signal
from ulp.commands import watch
from ulp.watch.presence import Presence
from ulp.watch.watcher import END, Watcher
Watcher(presence=Presence(), tell=watch._json, wake=os.pipe()[0], room=4096).run()
"""
    with watching(machine, sys.executable, "-c", program) as watch:
        watch.process.send_signal(signal.SIGSTOP)
        subprocess.run(["sh", "-c", "i=0; while [ $i -lt 60 ]; do /bin/true; i=$((i+1)); done"], check=True)
        with target() as missed:
            watch.process.send_signal(signal.SIGCONT)
            while "no room for all events" not in watch.until("problem")["sentence"]:
                pass
            watch.until("survey")
            missed.until(lambda: missed.answers()[0] == FIRST, "patched")


def test_lost_events_are_told_of() -> None:
    births = Births(room=2048)
    with pytest.raises(Lost):
        for _ in range(200):
            subprocess.run(["/bin/true"], check=True)
        births.read()


def test_the_kernels_events() -> None:
    births = Births()
    process = subprocess.Popen(["sh", "-c", "/bin/true & wait"])
    process.wait()
    events = births.read()
    ours = [event for event in events if event[1] == process.pid]
    assert [what for what, *_ in ours] == [FORK, EXEC, EXIT]
    assert ours[0][2] == os.getpid()
    [child] = [pid for what, pid, parent, _ in events if what == FORK and parent == process.pid]
    assert [what for what, pid, *_ in events if pid == child] == [FORK, EXEC, EXIT]
    assert 0 <= time.monotonic() - ours[1][3] / 1e9 < 60


def test_exemptions_and_what_is_wrong_with_them(machine: Sandbox, tmp_path: Path) -> None:
    file = machine.write(EXCLUDE, "path = */caller\n")
    try:
        with watching(machine) as watch:
            file.write_text("nonsense\n")
            with target() as process:
                assert "line 1: 'nonsense' is no rule" in watch.until("problem")["sentence"]
                assert "is no rule" in machine.run("ulp", "status", check=False).output
                assert process.answers()[0] == OLD
                file.unlink()
                with target() as other:
                    watch.until("survey")
                    for each in (process, other):
                        each.until(lambda each=each: each.answers()[0] == FIRST, "patched")  # type: ignore[misc]
    finally:
        file.unlink(missing_ok=True)


def test_what_is_installed_meanwhile_counts(machine: Sandbox) -> None:
    with watching(machine) as watch:
        machine.zypper("install", f"{PACKAGE}=2")
        with target() as process:
            watch.patched(process, SECOND)
        machine.zypper("install", "--oldpackage", f"{PACKAGE}=1")
        watch.process.send_signal(signal.SIGHUP)
        watch.until("survey")
        with target() as process:
            watch.patched(process)
        container = next((machine.root / "usr/lib64" / PACKAGE / "1").iterdir())
        content = container.read_bytes()
        container.write_bytes(content + b"x")
        try:
            watch.process.send_signal(signal.SIGHUP)
            assert "is not what its package put there" in watch.until("problem")["sentence"]
            assert watch.until("watching")["sentence"].startswith("0 live patches")
        finally:
            container.write_bytes(content)


def test_others_than_root_are_refused() -> None:
    from tests.support.users import ordinary_user

    said = ulp("watch", prefix=ordinary_user())
    assert (said.status, said.stdout) == (77, "")
    assert "only root" in said.stderr
