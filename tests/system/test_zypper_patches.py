# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job: real zypper installs a live patch package, and what runs is patched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.commits import (
    FIRST,
    LIBRARY,
    OLD,
    PACKAGE,
    SECOND,
    at_terminal,
    containers,
    line_of,
    packages,
    report,
    reports,
    target,
)
from tests.support.livepatches import live_patch
from tests.support.sandbox import PLUGIN, PROJECT, Sandbox, sandbox


@pytest.fixture
def machine() -> Iterator[Sandbox]:
    """A sandbox with two versions of a live patch package in its repository."""
    with sandbox() as made:
        made.add_packages(*packages())
        yield made


def test_install_update_downgrade_and_remove(machine: Sandbox) -> None:
    with target() as process:
        pid = process.pid
        done = machine.zypper("install", f"{PACKAGE}=1")
        assert process.answers()[0] == FIRST
        assert "Live patching" not in done.output + done.errors  # no terminal, no line
        written = report(machine)
        assert written["schema"] == "zypp-livepatch/report"
        assert written["state"] == "done"
        [package] = written["packages"]
        assert (package["action"], package["evr"], package["before"]) == ("installed", "1-1", [])
        [row] = [row for row in written["processes"] if row["pid"] == pid]
        assert (row["outcome"], row["reason"]) == ("SUCCESS", "applied")
        assert 0 < row["pause"] < 5

        machine.zypper("install", f"{PACKAGE}=2")
        assert process.answers()[0] == SECOND
        [package] = report(machine)["packages"]
        assert (package["action"], package["before"]) == ("updated", ["1-1"])
        assert [each["use"] for each in package["containers"]] == ["superseded", "applied"]

        machine.zypper("install", "--oldpackage", f"{PACKAGE}=1")
        assert process.answers()[0] == FIRST
        written = report(machine)
        assert written["packages"][0]["action"] == "downgraded"
        [row] = [row for row in written["processes"] if row["pid"] == pid]
        assert row["reverted"] == ["fix_livepatch2.so"]

        machine.zypper("remove", PACKAGE)
        assert process.answers()[0] == FIRST  # removing a package reverts nothing
        [package] = report(machine)["packages"]
        assert package["action"] == "removed"
        assert f"({pid})" in package["containers"][0]["why"]
        assert len(reports(machine)) == 4
        assert process.is_alive


def test_a_package_of_any_name_is_known_by_what_it_contains(machine: Sandbox) -> None:
    machine.add_packages(rpms.livepatch_spec("security-fixes", containers(count=1)))
    with target() as process:
        machine.zypper("install", "security-fixes")
        assert process.answers()[0] == FIRST
        machine.zypper("remove", "security-fixes")
        assert report(machine)["packages"][0]["action"] == "removed"


def test_many_processes_and_the_line_at_the_terminal(machine: Sandbox) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(target()) for _ in range(12)]
        shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
        assert [process.answers()[0] for process in processes] == [FIRST] * 12
        line = line_of(shown)
        assert line == f"Live patching: all 12 processes that use {LIBRARY} run the fixed functions"


def test_the_report_as_a_subcommand_of_zypper(machine: Sandbox) -> None:
    none = machine.run("zypper", "livepatch", "report", check=False)
    assert none.status == 2
    assert "zypper has not installed a live patch yet" in none.errors
    with target() as process:
        machine.zypper("install", f"{PACKAGE}=1")
        machine.zypper("install", f"{PACKAGE}=2")
        shown = machine.run("zypper", "livepatch", "report").output
        assert str(process.pid) in shown
        assert "patched, replaced fix_livepatch1.so" in shown
        assert f"the only process that uses {LIBRARY} runs the fixed functions" in shown
        before = machine.run("zypper", "livepatch", "report", "--last", "2").output
        assert f"{PACKAGE} 1-1: installed" in before
        as_json = machine.run("zypper", "livepatch", "report", "--json").output
        assert '"schema": "zypp-livepatch/report"' in as_json
        too_many = machine.run("zypper", "livepatch", "report", "--last", "3", check=False)
        assert (too_many.status, "only 2 reports" in too_many.errors) == (2, True)
        assert "report" in machine.run("zypper", "livepatch", "--help").output


def test_processes_that_cannot_be_patched_are_named(machine: Sandbox) -> None:
    from tests.support.targets import held

    with target() as free, target() as traced, held(traced.pid):
        shown = at_terminal(machine, "install", f"{PACKAGE}=1")
        assert shown.status == 0
        assert free.answers()[0] == FIRST
        line = line_of(shown.output)
        assert line.startswith(
            f"Live patching: 1 of 2 processes that use {LIBRARY} run the fixed functions; 1 cannot: "
        )
        assert f"({traced.pid})" in line
        assert machine.run("zypper", "livepatch", "report", check=False).status == 1
        assert process_row(machine, traced.pid)["reason"] == "already-traced"


def process_row(machine: Sandbox, pid: int) -> dict[str, object]:
    """The row of a process in the last report."""
    [row] = [row for row in report(machine)["processes"] if row["pid"] == pid]
    return dict(row)


def test_a_commit_without_live_patches_leaves_no_trace(machine: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    machine.add_packages(
        rpms.Spec(name="ordinary", files={"/usr/lib64/ordinary/text.so": tmp_path / "text"})
    )
    with target() as process:
        at_terminal(machine, "install", "ordinary")
        at_terminal(machine, "remove", "ordinary")
        assert process.answers()[0] == OLD
    assert not (machine.root / "var/lib/zypp-livepatch").exists()
    assert not (machine.root / "run/zypp-livepatch").exists()
    assert "zypp-livepatch:" not in machine.log()


def test_never_is_honoured_and_said(machine: Sandbox) -> None:
    machine.write("etc/sysconfig/livepatching", "LIVEPATCH_ANSWERS='never'\n")
    with target() as process:
        shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
        assert process.answers()[0] == OLD
        assert "LIVEPATCH_ANSWERS=never" in line_of(shown)
        [package] = report(machine)["packages"]
        assert [each["use"] for each in package["containers"]] == ["left-out"]
        machine.write("etc/sysconfig/livepatching", "LIVEPATCH_ANSWERS=always\n")
        machine.zypper("install", f"{PACKAGE}=2")
        assert process.answers()[0] == SECOND


def test_the_plugin_can_be_switched_off(machine: Sandbox) -> None:
    machine.write("etc/zypp-livepatch.conf.d/off.conf", "[plugin]\nenabled = no\n")
    with target() as process:
        machine.zypper("install", f"{PACKAGE}=1")
        assert process.answers()[0] == OLD
    assert reports(machine) == []


def test_a_bad_configuration_means_defaults_and_a_note(machine: Sandbox) -> None:
    machine.write("etc/zypp-livepatch.conf", "[plugin]\nwait = forever\n")
    with target() as process:
        shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
        assert process.answers()[0] == FIRST
        assert "defaults are used, because /etc/zypp-livepatch.conf: [plugin] wait is 'forever'" in line_of(
            shown
        )


@pytest.mark.parametrize("words", [["--quiet", "install"], ["--xmlout", "install"]])
def test_who_wants_silence_has_it(machine: Sandbox, words: list[str]) -> None:
    with target() as process:
        shown = at_terminal(machine, *words, f"{PACKAGE}=1").output
        assert process.answers()[0] == FIRST
        assert "Live patching" not in shown


def test_zyppers_screen_and_status_are_the_same_with_and_without(machine: Sandbox) -> None:
    def sequence() -> list[tuple[int, str]]:
        said = [
            machine.zypper("install", f"{PACKAGE}=1", check=False),
            machine.zypper("install", "no-such-package", check=False),
            machine.zypper("remove", PACKAGE, check=False),
        ]
        assert [each.status for each in said] == [0, 104, 0]
        return [(each.status, each.output + each.errors) for each in said]

    def without_files_in_use(said: list[tuple[int, str]]) -> list[tuple[int, str]]:
        # zypper looks which processes use deleted files: whatever else runs on this machine
        return [(status, text.partition("There are running programs")[0].strip()) for status, text in said]

    with target():
        with_plugin = sequence()
        (machine.root / "usr/lib/zypp/plugins/commit/zypp-livepatch-commit").unlink()
        assert without_files_in_use(sequence()) == without_files_in_use(with_plugin)


def test_process_one_is_left_out_and_said_unless_configured() -> None:
    """The library is the machine's libc, the processes only those of a process namespace."""
    libc = next(
        Path(line.split()[-1])
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.split()[-1].rpartition("/")[2].startswith("libc.so")
    )
    container = live_patch(
        libc, "int new_getppid(void) { return 4242; }", {"getppid": "new_getppid"}, name="libc_livepatch1.so"
    )
    with sandbox(private=True) as machine:
        machine.add_packages(rpms.livepatch_spec("glibc-livepatches", [container]))
        machine.zypper("install", "glibc-livepatches")
        assert process_row(machine, 1)["reason"] == "process-one"
        assert "1 left out: cat (1): process 1 is left out unless configured" in report(machine)["summary"]
        machine.write("etc/zypp-livepatch.conf", "[patch]\nprocess-one = yes\n")
        machine.zypper("install", "--force", "glibc-livepatches")
        assert process_row(machine, 1)["outcome"] == "SUCCESS"


def test_a_commit_that_updates_the_plugin_itself(machine: Sandbox) -> None:
    """A new version lacks files that the old one, which is running, has not loaded yet."""
    for room in ("host", "klp", "lifecycle", "ulp", "zypp_plugin"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / room, machine.root / "srv/code" / room, ignore=ignored)
    (machine.root / PLUGIN).unlink()
    start = "import sys\nsys.path.insert(0, '/srv/code')\nfrom zypp_plugin.plugin import main\nsys.exit(main())\n"
    machine.write(PLUGIN, f"#!{sys.prefix}/bin/python3 -IB\n{start}", mode=0o755)
    gone = "".join(
        f"os.remove('/srv/code/zypp_plugin/{name}.py') " for name in ("handoff", "lookup", "screen")
    )
    machine.add_packages(rpms.Spec(name="zypp-livepatch", scripts={"post -p <lua>": gone}))
    with target() as process:
        shown = at_terminal(machine, "install", "zypp-livepatch", f"{PACKAGE}=1").output
        assert not (machine.root / "srv/code/zypp_plugin/handoff.py").exists()
        assert process.answers()[0] == FIRST
        assert "runs the fixed functions" in line_of(shown)
