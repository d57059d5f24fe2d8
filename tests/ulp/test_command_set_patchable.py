# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp set_patchable`` on processes with the real libpulp, beside libpulp's own tool."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documentation import contradictions
from tests.support.libpulp import libpulp, needs_libpulp, padded_library, peer, preloaded
from tests.support.livepatches import NEW, OLD, Said, ten_functions, ulp
from tests.support.targets import Target, caller, held, running
from tests.support.users import NOBODY, ordinary_user, user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user")


@functools.cache
def library() -> Path:
    """A library that nobody else maps."""
    return padded_library(name=f"libswitch{os.getpid()}.so.0")


def name(of: str) -> str:
    """A name of at most 15 characters that no other process of the machine has."""
    return f"{of}{os.getpid()}"[:15]


@functools.cache
def program(called: str) -> Path:
    return caller(library(), name=name(called))


@pytest.fixture(name="target")
def _target() -> Iterator[Target]:
    with preloaded(program("sw")) as target:
        yield target


def switch(target: Target, *words: str) -> Said:
    return ulp("set_patchable", "-p", str(target.pid), *words)


def now(target: Target, state: str) -> str:
    return f"ulp: Process {name('sw')} (pid: {target.pid}): livepatching is now {state}.\n"


@needs_libpulp
def test_each_change_is_said_once(target: Target) -> None:
    for word, state in (("disable", "disabled"), ("Enable", "enabled")):
        said = switch(target, word)
        assert (said.status, said.stdout, said.stderr) == (0, "", now(target, state))
        said = switch(target, word)
        assert (said.status, said.stdout, said.stderr) == (0, "", "")
        said = switch(target, "-v", word)
        assert (
            said.stderr
            == f"ulp: Process {name('sw')} (pid: {target.pid}): livepatching was {state} before.\n"
        )
    assert (switch(target, "-q", "disable").stderr, switch(target, "disable").stderr) == ("", "")


@needs_libpulp
def test_libpulp_sees_what_we_switch_and_the_other_way_round(target: Target) -> None:
    pid = str(target.pid)

    def by_libpulp(word: str) -> str:
        done = libpulp("set_patchable", "-p", pid, word)
        assert (done.returncode, done.stdout) == (0, "")
        return re.sub(r"^\[[-0-9: ]+\] ", "", done.stderr)

    def state() -> str:
        shown = libpulp("patches", "-p", pid).stdout
        return shown.partition("Livepatching status: ")[2].partition("\n")[0]

    assert switch(target, "disable").stderr == now(target, "disabled")
    assert state() == "disabled by user"
    assert by_libpulp("disable") == ""
    assert by_libpulp("enable") == now(target, "enabled")
    assert switch(target, "enable").stderr == "" and state() == "enabled"
    assert by_libpulp("disable") == now(target, "disabled")
    assert switch(target, "enable").stderr == now(target, "enabled")


@needs_libpulp
@pytest.mark.parametrize("engine", ["auto", "pulp", "direct"])
def test_what_is_disabled_is_not_patched_and_said_so(target: Target, engine: str) -> None:
    container = ten_functions(200, library=library())
    words = ["trigger", "-p", str(target.pid), "-r", "100", f"--engine={engine}", str(container)]
    assert switch(target, "disable").status == 0
    said = ulp(*words)
    assert said.status == 1 and "SKIPPED" in said.stdout, said
    assert target.answers(10) == OLD
    assert ulp(*words, "--libpulp-exit-status").status == 0
    assert switch(target, "enable").status == 0
    assert ulp(*words).status == 0
    assert target.answers(10) == NEW


@needs_libpulp
def test_processes_by_name(target: Target) -> None:
    with preloaded(program("sw")) as second:
        said = ulp("set_patchable", "disable", "-p", f"{name('sw')[:-1]}*")
    lines = [now(target, "disabled"), now(second, "disabled")]
    assert (said.status, sorted(said.stderr.splitlines(keepends=True))) == (0, sorted(lines))


@needs_libpulp
@needs_root
def test_processes_by_user_and_all_that_one_may_change(target: Target) -> None:
    """All, as a user whom nobody else is: the libpulp of other tests is not to be switched."""
    somebody = user(100_000 + os.getpid() % 100_000)
    environment = {"LD_PRELOAD": str(peer().library)}
    with (
        running(program("sw"), wrapper=somebody, environment=environment) as one,
        running(program("sw"), wrapper=somebody, environment=environment) as two,
        running(program("sw"), wrapper=somebody),
    ):
        uid = somebody[1].partition("=")[2]
        said = ulp("set_patchable", "disable", "--user", uid)
        assert (said.status, said.stderr.splitlines(keepends=True)) == (
            0,
            sorted([now(one, "disabled"), now(two, "disabled")]),
        )
        said = ulp(
            "set_patchable", "--disable-threading", "-r", "9", "enable", prefix=ordinary_user(somebody)
        )
        *lines, unseen = said.stderr.splitlines(keepends=True)
        assert (said.status, lines) == (0, sorted([now(one, "enabled"), now(two, "enabled")]))
        assert re.fullmatch(
            r"ulp: \d+ processes of other users could not be looked at; root can\.\n", unseen
        )
        assert switch(target, "enable").stderr == ""


@needs_libpulp
def test_some_and_not_all(target: Target) -> None:
    with running(program("sw")) as without:
        words = ("-p", str(target.pid), "-p", str(without.pid))
        said = ulp("set_patchable", *words, "disable")
        assert said.status == 0
        assert now(target, "disabled") in said.stderr
        cannot = (
            f"ulp: Unable to change status of process {without.pid}: Libpulp not found in target process.\n"
        )
        assert cannot in said.stderr
        document = json.loads(ulp("set_patchable", *words, "enable", "--json").stdout)
        assert contradictions(document) == []
        rows = {row["pid"]: row for row in document["processes"]}
        assert (rows[target.pid]["done"], rows[target.pid]["changed"]) == (True, True)
        assert (rows[without.pid]["done"], rows[without.pid]["reason"]) == (False, "no-libpulp")
        said = ulp("set_patchable", "-p", str(without.pid), "disable")
        assert (said.status, said.stderr) == (2, cannot)


@needs_libpulp
def test_a_debugger_is_not_in_the_way(target: Target) -> None:
    with held(target.pid):
        assert switch(target, "disable").stderr == now(target, "disabled")


@needs_libpulp
@needs_root
def test_who_lacks_the_permission_hears_so(target: Target) -> None:
    environment = {"LD_PRELOAD": str(peer().library)}
    with running(program("sw"), wrapper=NOBODY, environment=environment) as own:
        both = ("-p", str(target.pid), "-p", str(own.pid))
        said = ulp("set_patchable", *both, "disable", prefix=ordinary_user())
        assert said.status == 3
        assert now(own, "disabled") in said.stderr
        assert f"ulp: Unable to change status of process {target.pid}: not permitted.\n" in said.stderr
        assert switch(target, "enable").stderr == ""
    said = ulp("set_patchable", "-p", str(target.pid), "disable", prefix=ordinary_user())
    assert said.status == 77
    assert (
        ulp("set_patchable", "-p", str(target.pid), "disable", "--libpulp", prefix=ordinary_user()).status
        == 0
    )


@pytest.mark.parametrize(
    ("words", "status", "libpulps"),
    [
        (["maybe"], 64, 1),
        ([], 64, 64),
        (["enable", "disable"], 64, 64),
        (["enable", "-p", "99999999"], 66, 0),
        (["enable", "-p", "no such process"], 2, 0),
        (["enable", "-u", "no such user"], 66, 0),
    ],
)
def test_what_cannot_be_done(words: list[str], status: int, libpulps: int) -> None:
    said = ulp("set_patchable", *words)
    assert (said.status, said.stdout) == (status, "")
    assert said.stderr.startswith("ulp: ")
    assert ulp("set_patchable", *words, "--libpulp-exit-status").status == libpulps


def test_a_process_that_is_no_candidate() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            said = ulp("set_patchable", "enable", "-p", str(process.pid))
        finally:
            process.kill()
    assert said.status == 2
    assert said.stderr.startswith(f"ulp: Unable to change status of process {process.pid}: ")
