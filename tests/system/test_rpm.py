# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM package: built, checked, installed from a repository by real zypper, at work, updated and removed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.command_line import VERSION
from tests.support import package, rpms
from tests.support.commits import FIRST, OLD, PACKAGE, SECOND, at_terminal, line_of, packages, report, target
from tests.support.package import HOME, NAME, Built
from tests.support.sandbox import PROJECT, REPORTS, Sandbox

SPEC = PROJECT / "spec"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package in two versions."""
    return package.built(tmp_path_factory)


@pytest.fixture(scope="module")
def machine(built: Built) -> Iterator[Sandbox]:
    """A sandbox with our package and a live patch package in its repository; tests remove what they install."""
    with package.bare_machine() as made:
        package.offer(made, built.first)
        made.add_packages(*packages())
        yield made


def test_rpmlint_has_nothing_to_say(built: Built) -> None:
    words: list[str | Path] = ["rpmlint", "--config", PROJECT / "tests/support/rpmlint.toml"]
    words += ["--rpmlintrc", SPEC / "zypp-livepatch-rpmlintrc", "--ignore-unused-rpmlintrc"]
    words += [built.first, built.source, SPEC / "zypp-livepatch.spec"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout + done.stderr


def test_the_package_has_the_programs_version(built: Built) -> None:
    asked: list[str | Path] = ["rpm", "--query", "--package", "--queryformat", "%{VERSION}", built.first]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == VERSION


def test_where_rpm_has_macros_for_services() -> None:
    """As openSUSE's has; elsewhere the scripts do it themselves (test_machine_watch.py)."""
    macros = ("service_add_pre", "service_add_post", "service_del_preun", "service_del_postun")
    words: list[str | Path] = ["rpmspec", "--parse", SPEC / "zypp-livepatch.spec"]
    for macro in macros:
        words += ["--define", f"{macro}() call-{macro} %*"]
    parsed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for section, macro in zip(("pre", "post", "preun", "postun"), macros, strict=True):
        assert f"\n%{section}\ncall-{macro} zypp-livepatch-watch.service\n" in parsed
    assert "systemctl" not in parsed


def test_nothing_is_compiled_when_it_runs(machine: Sandbox) -> None:
    """A read-only root has no room for that, and files that no package owns would stay behind."""
    machine.zypper("install", NAME)
    before = package.everything(machine)
    for words in (
        ["ulp", "patches"],
        ["klp", "status"],
        ["zypper", "lifecycle"],
        ["zypper", "livepatch", "report"],
    ):
        machine.run(*words, check=False)
    machine.zypper("install", f"{PACKAGE}=1")
    new = package.everything(machine) - before
    assert {
        path for path in new if "zypp-livepatch" in path and not path.startswith((f"/{REPORTS}", "/run"))
    } <= {"/var/lib/zypp-livepatch"}
    machine.zypper("remove", PACKAGE)
    loaded = machine.run("/usr/bin/python3", "-v", f"/{HOME}/bin/klp", "status", check=False).errors
    assert f"matches /{HOME}/klp/cli.py" in loaded  # the compiled file is the one that is taken
    machine.zypper("remove", NAME)


def _owner(machine: Sandbox, name: str) -> str:
    file = machine.root / name.lstrip("/")
    if file.is_symlink():
        return "ours"
    return file.read_text().strip() if file.exists() else "nobody"


OTHERS = {
    "libpulp-tools": "/usr/bin/ulp",
    "kernel-livepatch-tools": "/usr/bin/klp",
    "zypper-lifecycle-plugin": "/usr/lib/zypper/commands/zypper-lifecycle",
}


@pytest.mark.skipif(not shutil.which("systemctl"), reason="there is no systemctl")
def test_presets_decide_whether_the_watcher_is_enabled(machine: Sandbox) -> None:
    """Also in a root that no systemd has booted, as when an image is made."""
    state = ("systemctl", "is-enabled", "zypp-livepatch-watch.service")
    before = package.everything(machine)
    machine.zypper("install", NAME)
    assert machine.run(*state, check=False).output == "disabled\n"
    machine.zypper("remove", NAME)
    preset = machine.write(
        "etc/systemd/system-preset/50-ours.preset", "enable zypp-livepatch-watch.service\n"
    )
    machine.zypper("install", NAME)
    assert machine.run(*state).output == "enabled\n"
    machine.zypper("remove", NAME)
    preset.unlink()
    assert {path for path in package.everything(machine) - before if "livepatch" in path} == set()


def test_names_that_other_packages_have_too(machine: Sandbox, tmp_path: Path) -> None:
    """Whoever owns a file of the name has it; otherwise it is ours; and nobody's is left behind."""
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs\n")
    machine.add_packages(*(rpms.Spec(name=other, files={path: theirs}) for other, path in OTHERS.items()))
    before = package.everything(machine)
    steps = (
        ("install", [NAME], "ours"),
        ("install", [*OTHERS], "theirs"),
        ("remove", [*OTHERS], "ours"),
        ("remove", [NAME], "nobody"),
        ("install", [*OTHERS], "theirs"),
        ("install", [NAME], "theirs"),
        ("remove", [NAME], "theirs"),
        ("remove", [*OTHERS], "nobody"),
        ("install", [NAME, *OTHERS], "theirs"),
        ("remove", [NAME, *OTHERS], "nobody"),
    )
    for action, names, owner in steps:
        machine.zypper(action, *names)
        assert [_owner(machine, path) for path in OTHERS.values()] == [owner] * len(OTHERS), (action, names)
        if owner == "theirs":
            assert machine.run("rpm", "--verify", *OTHERS).output == ""
        if NAME in names and action == "install":
            assert machine.run("zypp-ulp", "--version").status == 0
        if (machine.root / HOME / "bin/ulp").exists():  # what it says is what one can type
            name = "ulp" if owner == "ours" else "zypp-ulp"
            said = machine.run(f"/{HOME}/bin/ulp", "messages", check=False).errors
            assert said.endswith(f"hint: Name it: {name} messages -p PID\n")
            assert "zypp-ulp COMMAND" in machine.run("zypp-ulp", "--help").output
    assert package.everything(machine) - before == set()


def test_the_plugin_goes_in_the_commit_that_brings_a_live_patch(machine: Sandbox) -> None:
    """Nothing is left that could patch: that is said at once, and zypper does not wait."""
    machine.zypper("install", NAME)
    with target() as process:
        shown = at_terminal(machine, "install", f"{PACKAGE}=1", f"!{NAME}")
        assert shown.status == 0
        assert line_of(shown.output) == "Live patching: no process was patched, zypp-livepatch was removed"
        assert process.answers()[0] == OLD
    assert not (machine.root / REPORTS).exists()
    machine.zypper("remove", PACKAGE)


def test_installed_at_work_updated_and_removed(machine: Sandbox, built: Built) -> None:
    before = package.everything(machine)
    machine.zypper("install", NAME)
    assert not (machine.root / PROJECT.relative_to("/") / "ulp").exists()
    assert machine.run("rpm", "--verify", NAME).output == ""
    for command in ("ulp", "klp", "zypp-ulp", "zypp-klp", "zypper-lifecycle", "zypper-livepatch"):
        words = ["zypper", command.removeprefix("zypper-")] if command.startswith("zypper-") else [command]
        assert f"({NAME}) {VERSION}" in machine.run(*words, "--version").output
        assert machine.run("man", "--where", command).output.startswith("/usr/share/man/")
    with target() as process:
        shown = at_terminal(machine, "install", f"{PACKAGE}=1").output
        assert process.answers()[0] == FIRST
        assert "runs the fixed functions" in line_of(shown)
        assert "fix_livepatch1.so" in machine.run("ulp", "patches", "-p", str(process.pid)).output

        package.offer(machine, built.second)
        # one commit brings a new version of what is at work in it
        machine.zypper("update", NAME, PACKAGE)
        assert machine.run("rpm", "--query", NAME).output.startswith(f"{NAME}-0.1.99")
        assert process.answers()[0] == SECOND
        assert report(machine)["packages"][0]["action"] == "updated"
        assert "0.1.99" in machine.run("ulp", "--version").output
        assert machine.run("zypper", "livepatch", "report").status == 0

        machine.zypper("remove", PACKAGE, NAME)
        assert process.answers()[0] == SECOND
    assert package.everything(machine) - before == set()
    log = machine.log()
    assert "defect" not in log and "Traceback" not in log
