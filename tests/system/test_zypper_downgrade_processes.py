# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp downgrade`` with real zypper and real processes, which go back."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence

import pytest

from tests.support import commits, rpms
from tests.support.downgrades import (
    KERNEL,
    LIBRARY,
    answer,
    answering,
    patched,
    version,
    without_plugin,
)
from tests.support.livepatches import ten_functions
from tests.support.rpms import Spec
from tests.support.sandbox import Sandbox
from tests.support.targets import Target, answers_library, caller, held, running
from tests.support.users import NOBODY, ordinary_user


@pytest.fixture
def process(fresh: Sandbox) -> Iterator[Target]:
    """A process that runs with the live patches of version 4."""
    with commits.target() as made:
        patched(fresh, made)
        yield made


def test_a_process_goes_back(fresh: Sandbox, process: Target) -> None:
    done = fresh.run("ulp", "downgrade", "-n")
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("3", 400)
    lines = done.output.splitlines()
    assert lines[0] == f"1 process holds live patches of {LIBRARY}"
    assert f"  zypper --non-interactive install --oldpackage {LIBRARY}=3-1" in lines
    assert f"(1/1) Installing: {LIBRARY}-3-1.noarch" in done.output
    assert lines[-1].startswith(f"{LIBRARY}-3-1 is installed; 1 process went back")


def test_a_process_goes_back_without_the_plugin(fresh: Sandbox, process: Target) -> None:
    with without_plugin(fresh):
        done = answer(fresh.run("ulp", "downgrade", "-n", "--json", "--to", "1", LIBRARY))
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("1", 200)
    assert done["state"] == "done"
    assert done["packages"] == [
        {"name": LIBRARY, "arch": "noarch", "from": "4-1", "to": "1-1", "repository": "test"}
    ]
    [found] = [each for each in done["processes"] if each["pid"] == process.pid]
    assert found["back"] and found["patches"] == [f"/usr/lib64/{LIBRARY}/1/fix_livepatch1.so"]


def test_who_asks_is_asked(fresh: Sandbox, process: Target) -> None:
    for text in ("n\n", "", "yesterday\n"):
        done = answering(fresh, text, "ulp", "downgrade")
        assert done.status == 1
        assert "Continue? [y/N] " in done.output
        assert done.errors.startswith("ulp: nothing was changed\n")
        assert (version(fresh, LIBRARY), process.answers()[0]) == ("4", 500)
    assert answering(fresh, "y\n", "ulp", "downgrade").status == 0
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("3", 400)


def test_at_a_terminal_that_stops_who_writes_from_the_background(fresh: Sandbox, process: Target) -> None:
    command = "stty tostop; echo y | ulp downgrade"
    done = fresh.run(
        "script", "--quiet", "--return", "--command", command, "/dev/null", env={"TERM": "xterm"}
    )
    assert f"{LIBRARY}-3-1 is installed; 1 process went back" in done.output
    assert process.answers()[0] == 400


def test_a_dry_run_changes_nothing_and_anybody_may_ask(fresh: Sandbox, process: Target) -> None:
    fresh.run("ulp", "downgrade", "--dry-run")
    document = answer(fresh.run(*ordinary_user(NOBODY), "ulp", "downgrade", "--dry-run", "--json"))
    assert (document["state"], document["command"][-1]) == ("possible", f"{LIBRARY}=3-1")
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("4", 500)
    done = fresh.run(*ordinary_user(NOBODY), "ulp", "downgrade", "-n", check=False)
    assert (done.status, done.errors.splitlines()[0]) == (77, "ulp: only root can change packages")


def test_a_process_that_cannot_go_back_is_named(fresh: Sandbox, process: Target) -> None:
    with without_plugin(fresh), held(process.pid):
        done = fresh.run("ulp", "downgrade", "-n", check=False)
    assert (done.status, process.answers()[0]) == (3, 500)
    sentence, hint = done.errors.splitlines()
    assert sentence.startswith(
        f"ulp: The state now: {LIBRARY}-3-1 is installed; 0 of 1 process went back, "
        f"not caller ({process.pid}): "
    )
    command = hint.split("'")[1]
    assert fresh.run(*command.split(), check=False).status == 0
    assert process.answers()[0] == 400


def test_a_build_that_the_older_package_does_not_know_is_left_without(fresh: Sandbox) -> None:
    library = answers_library(name=f"libother{os.getpid()}.so.0")
    other = ten_functions(900, library=library, name="other_livepatch9.so")
    spec = rpms.livepatch_spec(LIBRARY, [*commits.containers(count=4), other], version="4", release="2")
    fresh.add_packages(spec)
    fresh.run("rpm", "-U", "--oldpackage", f"/srv/repository/{spec.file_name}")
    with running(caller(library)) as process, without_plugin(fresh):
        process.until(lambda: process.answers()[0] == 100, "the library's own answer")
        fresh.run("ulp", "trigger", "-p", str(process.pid), f"/usr/lib64/{LIBRARY}/4/other_livepatch9.so")
        assert process.answers()[0] == 900
        fresh.run("ulp", "downgrade", "-n", "--to", "3")
        assert process.answers()[0] == 100
    (fresh.repository / spec.file_name).unlink()


def test_several_packages(fresh: Sandbox, process: Target) -> None:
    """Without a name it is the one that is in use; what is not in use has to be named."""
    other = "openssl-3-livepatches"
    fresh.add_packages(Spec(name=other, version="1"), Spec(name=other, version="2"))
    fresh.run("rpm", "--install", f"/srv/repository/{other}-2-1.noarch.rpm")
    try:
        plan = answer(fresh.run("ulp", "downgrade", "--dry-run", "--json"))
        assert [each["name"] for each in plan["packages"]] == [LIBRARY]
        done = fresh.run("ulp", "downgrade", "-n", "--to", "1", LIBRARY, other, check=False)
        assert (done.status, done.output) == (64, "")
        assert done.errors.startswith("ulp: --to is for one package, and several were named\n")
        done = fresh.run("ulp", "downgrade", "-n", LIBRARY, other, LIBRARY)
        assert f"install --oldpackage {LIBRARY}=3-1 {other}=1-1\n" in done.output
        assert (version(fresh, LIBRARY), version(fresh, other)) == ("3", "1")
        assert process.answers()[0] == 400
        last = done.output.splitlines()[-1]
        assert last.startswith(f"{LIBRARY}-3-1 and {other}-1-1 are installed; 1 process went back")
    finally:
        fresh.run("rpm", "--erase", other)
        for each in fresh.repository.glob(f"{other}-*"):
            each.unlink()


def test_without_a_process(fresh: Sandbox) -> None:
    lines = fresh.run("ulp", "downgrade", "-n").output.splitlines()
    assert lines[0] == f"No process holds live patches of {LIBRARY}"
    assert lines[-1].startswith(f"{LIBRARY}-3-1 is installed; no process had a live patch of it")


def test_a_lock_is_named(fresh: Sandbox, process: Target) -> None:
    fresh.zypper("--quiet", "addlock", LIBRARY)
    done = fresh.run("ulp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith(f"ulp: {LIBRARY}-4-1 is locked, by line 2 of /etc/zypp/locks\n")
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("4", 500)


def test_another_zypper_is_at_work(fresh: Sandbox, process: Target) -> None:
    with fresh.locked("search glibc", answer=LIBRARY):
        done = fresh.run("ulp", "downgrade", "-n", check=False)
    assert done.status == 75
    assert f"nothing was changed: {LIBRARY}-4-1 is installed" in done.errors
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("4", 500)


def test_a_repository_that_has_vanished(fresh: Sandbox, process: Target) -> None:
    """zypper's cache has the older package, and where it was there is nothing any more."""
    fresh.run("mv", f"/srv/repository/{LIBRARY}-3-1.noarch.rpm", "/srv/repository/away")
    try:
        done = answer(fresh.run("ulp", "downgrade", "-n", "--json", check=False))
    finally:
        fresh.run("mv", "/srv/repository/away", f"/srv/repository/{LIBRARY}-3-1.noarch.rpm")
    assert done["state"] == "unchanged"
    assert done["sentence"].endswith(f"nothing was changed: {LIBRARY}-4-1 is installed")
    assert (version(fresh, LIBRARY), process.answers()[0]) == ("4", 500)


NOTHING = [
    (["--to", "9"], 2, f"ulp: no repository has {LIBRARY} 9"),
    (["--to", "4"], 2, f"ulp: {LIBRARY}-4-1 is in use already"),
    (["--to", "4-1"], 2, f"ulp: {LIBRARY}-4-1 is in use already"),
    (["--to", "5"], 2, f"ulp: {LIBRARY}-5-1 is newer than 4-1, which is in use"),
    (["--to", "a b"], 64, "ulp: 'a b' is no version; write VERSION or VERSION-RELEASE"),
    (["--to", ""], 64, "ulp: '' is no version; write VERSION or VERSION-RELEASE"),
    (["bash"], 64, "ulp: bash is no package of user-space live patches"),
    ([KERNEL], 64, f"ulp: {KERNEL} is no package of user-space live patches"),
    (["openssl-3-livepatches"], 66, "ulp: openssl-3-livepatches is not installed"),
    (["--root", "/tmp"], 64, "ulp: --root is for a look only: add --dry-run"),
]


@pytest.mark.parametrize(("words", "status", "sentence"), NOTHING)
def test_what_cannot_be_is_refused_before_zypper_is_started(
    fresh: Sandbox, words: Sequence[str], status: int, sentence: str
) -> None:
    done = fresh.run("ulp", "downgrade", "-n", *words, check=False)
    assert (done.status, done.output) == (status, "")
    assert done.errors.splitlines()[0] == sentence
    assert version(fresh, LIBRARY) == "4"


def test_until_when_what_is_in_use_is_maintained(fresh: Sandbox, process: Target) -> None:
    """The process holds the live patches of version 4; afterwards another version is installed."""
    end = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=10)
    fresh.write("/etc/products.d/SLES.prod", "<product><name>SLES</name></product>")
    fresh.write("/usr/share/lifecycle/data/SLES.lifecycle", f"{LIBRARY},*,{end}\n")
    done = fresh.run("ulp", "lifecycle", "-p", str(process.pid), check=False)
    assert done.status == 1
    assert done.output.replace(" 9 days", " 10 days") == (  # midnight may have passed meanwhile
        f"{LIBRARY} 4-1, in 1 process: maintained until {end}, 10 days are left, not more than the 30 of the warning\n"
        f"    package: {LIBRARY} 4-1\n"
        f"    newest: 5-1, from test: 'zypper update {LIBRARY}'\n"
    )
    with without_plugin(fresh):
        fresh.zypper("install", LIBRARY + "=5")
    done = fresh.run("ulp", "lifecycle", "-p", str(process.pid), check=False)
    assert (done.status, process.answers()[0]) == (1, 500)
    assert done.output.splitlines()[1:] == [
        f"    package: {LIBRARY} 4",
        "    installed: 5-1, which is not what runs",
        "    newest: 5-1, installed",
    ]
    document = answer(fresh.run("ulp", "lifecycle", "-p", str(process.pid), "--json", check=False))
    [patch] = document["live_patches"]
    assert (patch["edition"], patch["installed"], patch["processes"]) == ("4", "5-1", [process.pid])
    assert fresh.run("klp", "lifecycle", check=False).status == 2  # no line is about it


def test_the_live_patches_of_nobody(fresh: Sandbox) -> None:
    with commits.target() as process:
        done = fresh.run("ulp", "lifecycle", "-p", str(process.pid), check=False)
    assert (done.status, done.output) == (2, "")
    assert done.errors.startswith("ulp: no process holds a live patch\n")
