# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp downgrade`` and ``klp downgrade`` with real zypper: five versions of a package, and what runs goes back.

The processes are real. The kernel is a directory that the packages' scripts write to, as the kernel would show it;
tests/system/test_klp_downgrade.py has a real one.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import commits, rpms
from tests.support.documentation import contradictions
from tests.support.kernel_tree import write_patch
from tests.support.klp import NAME as KERNEL
from tests.support.livepatches import ten_functions
from tests.support.rpms import Spec
from tests.support.sandbox import PLUGIN, Finished, Sandbox, sandbox
from tests.support.targets import Target, answers_library, caller, held, running
from tests.support.transactional_update import NEXT, NoSnapshots, transactional
from tests.support.users import NOBODY, ordinary_user

LIBRARY = "glibc-livepatches"
VERSIONS = range(1, 6)
RELEASE = "150600.2.1"
NOBODY_HAS = "what-nobody-has"  # and version 2 needs
# What SUSE's scripts do, and what can go wrong with that
LOAD = """\
test ! -e /run/fail || exit 1
test -z "$TRANSACTIONAL_UPDATE" || exit 0
test ! -e /run/leave || exit 0
test ! -e /run/slow || sleep 2
cd /sys/kernel/livepatch
rm -rf *
mkdir livepatch_{version}_150600_2_1
echo 1 > livepatch_{version}_150600_2_1/enabled
if test -e /run/stay; then echo 1; else echo 0; fi > livepatch_{version}_150600_2_1/transition
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Version 4 of both packages is installed, and a repository has 1 to 5."""
    module = tmp_path_factory.mktemp("module") / "livepatch.ko"
    module.write_bytes(b"")
    with sandbox() as made:
        made.add_packages(*_libraries(), *map(_kernel(module), VERSIONS))
        made.run("mkdir", "/run/kernel")
        made.run("mount", "--bind", "/run/kernel", "/sys/kernel")
        for path, text in (("/dev/kmsg", ""), ("/proc/sys/kernel/tainted", "0\n")):
            file = f"/run/{path.rpartition('/')[2]}"
            made.write(file, text)
            made.run("mount", "--bind", file, path)
        yield made


def _libraries() -> list[Spec]:
    """The live patches are cumulative, as SUSE's are."""
    containers = commits.containers(count=len(VERSIONS))
    return [rpms.livepatch_spec(LIBRARY, containers[:version], version=str(version)) for version in VERSIONS]


def _kernel(module: Any) -> Any:
    running = os.uname().release

    def spec(version: int) -> Spec:
        return Spec(
            name=KERNEL,
            version=str(version),
            release=RELEASE,
            files={f"/lib/modules/{running}/livepatch/livepatch-{version}-150600_2_1.ko": module},
            # Lua, since a shell would have to be in some package
            scripts={
                "post -p <lua>": f"assert(rpm.execute('/bin/sh', '-c', [[{LOAD.format(version=version)}]]))"
            },
            tags=[f"Requires: {NOBODY_HAS}"] if version == 2 else [],
        )

    return spec


@pytest.fixture
def fresh(system: Sandbox) -> Iterator[Sandbox]:
    """The system with version 4 of both packages, and afterwards without what a test has set up."""
    system.install_plugin()
    system.run("sh", "-c", "rm -rf /sys/kernel/livepatch; mkdir /sys/kernel/livepatch")
    files = [f"/srv/repository/{LIBRARY}-4-1.noarch.rpm", f"/srv/repository/{KERNEL}-4-{RELEASE}.noarch.rpm"]
    system.run("rpm", "-U", "--oldpackage", "--replacepkgs", *files)
    yield system
    system.run(
        "sh",
        "-c",
        "rm -f /run/slow /run/fail /run/leave /run/stay /etc/zypp/locks /etc/sysconfig/livepatching",
    )
    system.run("sh", "-c", "rm -f /etc/zypp-livepatch.conf; : > /run/kmsg; echo 0 > /run/tainted")
    system.refresh()


@contextmanager
def without_plugin(system: Sandbox) -> Iterator[None]:
    (system.root / PLUGIN).unlink()
    yield


@contextmanager
def zypper_as(system: Sandbox, script: str) -> Iterator[None]:
    """Let zypper be a script that leaves things as real zypper does when it is killed at the wrong moment."""
    system.run("mv", "/usr/bin/zypper", "/usr/bin/zypper-away")
    system.write("/usr/bin/zypper", f"#!/bin/sh\n{script}\n", mode=0o755)
    try:
        yield
    finally:
        system.run("mv", "/usr/bin/zypper-away", "/usr/bin/zypper")


@contextmanager
def holding_the_lock(system: Sandbox) -> Iterator[None]:
    """Let another zypper be at work."""
    shell = subprocess.Popen(
        system.argv(["zypper", "--non-interactive", "shell"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    assert shell.stdin and shell.stdout
    try:
        shell.stdin.write("search glibc\n")
        shell.stdin.flush()
        for line in shell.stdout:
            if LIBRARY in line:
                break
        yield
    finally:
        shell.communicate("exit\n")


def version(system: Sandbox, name: str) -> str:
    return system.run("rpm", "--query", "--queryformat=%{version}", name).output


def version_in(system: Sandbox, root: str, name: str) -> str:
    return system.run("rpm", "--root", root, "--query", "--queryformat=%{version}", name).output


def answer(done: Finished) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.output)
    if "before" in document or "processes" in document:  # nothing has happened otherwise
        assert contradictions(document) == []
    return document


def answering(system: Sandbox, text: str | None, *words: str) -> Finished:
    """Run a command of ours in the sandbox with somebody who answers."""
    done = subprocess.run(
        system.argv(words),
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    return Finished(status=done.returncode, output=done.stdout, errors=done.stderr)


def patched(system: Sandbox, process: Target) -> None:
    """Let a process hold the live patches of version 4."""
    container = f"/usr/lib64/{LIBRARY}/4/fix_livepatch4.so"
    system.run("ulp", "trigger", "-p", str(process.pid), container)
    assert process.answers()[0] == 500


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
    with holding_the_lock(fresh):
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


NEWER, OLDER = "livepatch_4_150600_2_1", "livepatch_3_150600_2_1"


@pytest.fixture
def kernel(fresh: Sandbox) -> Sandbox:
    """The kernel runs the live patch of version 4."""
    assert patches(fresh) == {NEWER: "1"}
    return fresh


def patches(system: Sandbox) -> dict[str, str]:
    """The kernel's live patches and whether they are enabled."""
    found = (system.root / "sys/kernel/livepatch").glob("*/enabled")
    return {path.parent.name: path.read_text().strip() for path in found}


def test_the_kernel_goes_back(kernel: Sandbox) -> None:
    done = kernel.run("klp", "-n", "downgrade")
    assert (version(kernel, KERNEL), patches(kernel)) == ("3", {OLDER: "1"})
    lines = done.output.splitlines()
    assert lines[0] == f"The kernel runs {NEWER}, version 4-{RELEASE} of its live patch"
    assert f"  zypper --non-interactive install --oldpackage {KERNEL}=3-{RELEASE}" in lines
    assert f"(1/1) Installing: {KERNEL}-3-{RELEASE}.noarch" in done.output
    assert lines[-1] == f"{OLDER} is in effect, {NEWER} is out of use."
    assert done.errors == ""


def test_the_kernel_goes_back_to_the_initial_live_patch_and_no_further(kernel: Sandbox) -> None:
    done = answer(kernel.run("klp", "downgrade", "-n", "--json", "--to", "1"))
    assert (done["state"], done["before"]) == ("done", NEWER)
    assert done["patches"] == [{"name": "livepatch_1_150600_2_1", "enabled": True, "transition": False}]
    assert done["notes"] == [f"1-{RELEASE} is the initial live patch, which fixes nothing"]
    refused = kernel.run("klp", "downgrade", "-n", check=False)
    assert refused.status == 2
    assert (
        refused.errors == "klp: livepatch_1_150600_2_1 is the initial live patch: there is none before it\n"
    )


def test_a_version_that_the_solver_does_not_take(kernel: Sandbox) -> None:
    done = kernel.run("klp", "downgrade", "-n", "--to", "2", check=False)
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith(
        f"klp: {KERNEL}-2-{RELEASE} cannot be installed: nothing provides {NOBODY_HAS} needed by {KERNEL}-2-"
    )
    assert version(kernel, KERNEL) == "4"


def test_while_a_transition_goes_on(kernel: Sandbox) -> None:
    kernel.write(f"/sys/kernel/livepatch/{NEWER}/transition", "1\n")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (75, "")
    assert done.errors.startswith(f"klp: {NEWER} is in transition: ")
    assert version(kernel, KERNEL) == "4"


TROUBLE = "WARNING: CPU: 0 PID: 1 at kernel/livepatch/core.c:1 klp_init+0x1/0x2"


@pytest.mark.parametrize(
    ("tainted", "log", "said"),
    [
        ("128", "", "it has crashed (oops) (taint flags D)"),
        ("640", "", "it has crashed (oops) and it has warned (taint flags DW)"),
        ("512", f"4,1,2,-;{TROUBLE}\n", f"it has warned (taint flags W); '{TROUBLE}'"),
        ("0", f"6,1,2,-;fine\n4,2,2,-;{TROUBLE}\n", f"its log has errors; '{TROUBLE}'"),
    ],
)
def test_a_kernel_in_trouble_is_left_alone(kernel: Sandbox, tainted: str, log: str, said: str) -> None:
    kernel.write("/run/tainted", f"{tainted}\n")
    kernel.write("/run/kmsg", log)
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert done.errors.splitlines()[0] == f"klp: the kernel is not in order: {said}"
    assert version(kernel, KERNEL) == "4"


def test_who_knows_the_trouble_may_go_on(kernel: Sandbox) -> None:
    kernel.write("/run/tainted", "512\n")
    done = kernel.run("klp", "downgrade", "-n", "--ignore-kernel-trouble")
    assert "Note the kernel is not in order: it has warned (taint flags W)" in " ".join(done.output.split())
    assert patches(kernel) == {OLDER: "1"}


def test_a_package_whose_live_patch_is_not_to_be_loaded(kernel: Sandbox) -> None:
    kernel.write("/etc/sysconfig/livepatching", "LIVEPATCH_KERNEL=never\n")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.output) == (1, "")
    assert "LIVEPATCH_KERNEL=never" in done.errors
    assert version(kernel, KERNEL) == "4"


def test_a_script_that_does_not_load_the_live_patch(kernel: Sandbox) -> None:
    kernel.write("/run/leave", "")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert done.status == 3
    assert done.errors == (
        f"klp: The state now: {KERNEL}-3-{RELEASE} is installed, but its module {OLDER} is not loaded: "
        f"the kernel runs {NEWER}\n"
        "hint: 'modprobe livepatch-3-150600-2-1' loads it\n"
    )
    # and what is installed is told apart from what runs
    again = kernel.run("klp", "downgrade", "-n", check=False)
    assert again.status == 2
    assert again.errors.startswith(f"klp: {KERNEL}-3-{RELEASE} is installed already\n")
    plan = answer(kernel.run("klp", "downgrade", "--dry-run", "--json", "--to", "1"))
    assert plan["packages"][0]["from"] == f"3-{RELEASE}"
    assert plan["notes"][0] == f"installed is 3-{RELEASE}, which the kernel does not run"


def test_a_script_that_fails(kernel: Sandbox) -> None:
    kernel.write("/run/fail", "")
    done = kernel.run("klp", "downgrade", "-n", check=False)
    assert done.status == 3
    assert (
        f"The state now: {KERNEL}-3-{RELEASE} is installed" in done.errors
    )  # zypper may say that all is well
    assert f"the kernel runs {NEWER}" in done.errors
    assert version(kernel, KERNEL) == "3"


def test_a_transition_that_does_not_end(kernel: Sandbox) -> None:
    kernel.write("/run/stay", "")
    kernel.write("/etc/zypp-livepatch.conf", "[kernel]\ntransition = 0\n")
    document = answer(kernel.run("klp", "downgrade", "-n", "--json", check=False))
    assert document["state"] == "incomplete"
    assert f"{OLDER} still in transition after 0 s: " in document["sentence"]
    assert document["patches"] == [{"name": OLDER, "enabled": True, "transition": True}]


def test_control_c_while_zypper_is_at_work(kernel: Sandbox) -> None:
    kernel.write("/run/slow", "")
    command = subprocess.Popen(
        kernel.argv(["klp", "-n", "downgrade"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    assert command.stdout
    for line in command.stdout:
        if line.startswith("Checking for file conflicts"):
            break
    os.killpg(command.pid, signal.SIGINT)
    output, errors = command.communicate(timeout=120)
    assert "Traceback" not in errors
    there = version(kernel, KERNEL)
    assert (there, patches(kernel)) in [("4", {NEWER: "1"}), ("3", {OLDER: "1"})]
    if command.returncode == 0:
        assert output.endswith(f"{OLDER} is in effect, {NEWER} is out of use.\n")
    else:
        assert command.returncode == (1 if there == "4" else 3)
        assert (
            f"{there}-{RELEASE} of {KERNEL}" in errors
            or f"{KERNEL}-{there}-{RELEASE} is installed" in errors
        )


def test_a_half_done_transaction_is_told(kernel: Sandbox) -> None:
    """As when rpm was killed between the new version and the removal of the old one: both are installed."""
    with zypper_as(kernel, "rpm --install --force --nodeps /srv/repository/${4%%=*}-3-1*.rpm"):
        done = kernel.run("klp", "downgrade", "-n", check=False)
        assert done.status == 3
        assert done.errors.splitlines()[-2:] == [
            f"klp: The state now: {KERNEL}-3-{RELEASE} is installed, and {KERNEL}-4-{RELEASE} still is; "
            f"the kernel runs {OLDER}",
            f"hint: 'rpm --erase {KERNEL}-4-{RELEASE}' takes away what was left",
        ]
        done = kernel.run("ulp", "downgrade", "-n", check=False)
        assert done.status == 3
        words = f"ulp: The state now: {LIBRARY}-3-1 and {LIBRARY}-4-1 are installed"
        assert words in done.errors.splitlines()
    kernel.run("rpm", "--erase", f"{KERNEL}-4-{RELEASE}", f"{LIBRARY}-4-1")


def test_a_zypper_that_takes_the_package_away(kernel: Sandbox) -> None:
    with zypper_as(kernel, "rpm --erase ${4%%=*}; exit 8"):
        for command, name in (("klp", KERNEL), ("ulp", LIBRARY)):
            done = kernel.run(command, "downgrade", "-n", check=False)
            assert done.status == 3
            words = (
                "zypper ended with 8: an error while packages were installed or removed. The state now: no"
            )
            assert f"{command}: {words}" in done.errors
            assert kernel.run("rpm", "--query", name, check=False).status == 1


@pytest.fixture
def transactional_system(kernel: Sandbox) -> Iterator[Sandbox]:
    """The system with its root in a snapshot."""
    try:
        with transactional(kernel) as made:
            yield made
    except NoSnapshots as reason:
        pytest.skip(f"no snapshots here: {reason}")


def test_on_a_transactional_system(transactional_system: Sandbox, process: Target) -> None:
    system = transactional_system
    done = system.run("klp", "-n", "downgrade")
    command = "transactional-update --non-interactive --continue pkg install --oldpackage"
    assert f"\n  {command} {KERNEL}=3-{RELEASE}\n" in done.output
    assert done.output.splitlines()[-2:] == [
        f"{KERNEL}-3-{RELEASE} is in the new snapshot and counts from the next boot on; "
        f"until then the kernel runs {NEWER}.",
        "'transactional-update reboot' boots in the way that is configured.",
    ]
    assert version_in(system, NEXT, KERNEL) == "3"
    assert (version(system, KERNEL), patches(system)) == ("4", {NEWER: "1"})

    document = answer(system.run("ulp", "downgrade", "-n", "--json"))
    assert (document["state"], document["command"][:4]) == ("reboot", command.split()[:4])
    assert version_in(system, NEXT, LIBRARY) == "3"
    assert version(system, LIBRARY) == "4"
    # a libzypp that runs the plugin in an update, too, has taken the process back from the snapshot at once
    assert process.answers()[0] in (400, 500)


def test_a_snapshot_that_is_dropped(transactional_system: Sandbox) -> None:
    system = transactional_system
    gone = f"/srv/repository/{KERNEL}-3-{RELEASE}.noarch.rpm"
    system.run("mv", gone, f"{gone}.away")
    try:
        done = system.run("klp", "-n", "downgrade", check=False)
    finally:
        system.run("mv", f"{gone}.away", gone)
    assert done.status == 1
    assert done.errors.splitlines()[-1] == (
        f"klp: transactional-update ended with 1; nothing was changed: the kernel runs {NEWER}"
    )
    assert system.run("ls", NEXT, check=False).status != 0
    environment = {"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": NEXT}
    done = system.run("klp", "-n", "downgrade", check=False, env=environment)
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith("klp: this is a part of a transactional update")


def test_a_kernel_without_live_patches(fresh: Sandbox) -> None:
    fresh.run("sh", "-c", "rm -r /sys/kernel/livepatch/*")
    done = fresh.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.errors) == (2, "klp: no live patch is in use\n")
    write_patch(fresh.root, "foreign")
    done = fresh.run("klp", "downgrade", "-n", check=False)
    assert (done.status, done.errors.splitlines()[0]) == (2, "klp: foreign belongs to no installed package")


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
