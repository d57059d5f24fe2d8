# SPDX-License-Identifier: GPL-2.0-or-later
"""Completions in real shells: the same questions for bash, zsh and fish."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.arguments import value_name
from spec.completion.words import VALUES, commands
from spec.programs import PROGRAMS, Program
from tests.support import shells

LONG_NAME = "a-server-with-a-long-name"  # /proc/PID/comm has 15 characters of it
HOSTILE = "a-server\x1b[31m"


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Processes whose names are worth a look."""
    directory = tmp_path_factory.mktemp("servers")
    processes = []
    for name in (LONG_NAME, HOSTILE):
        shutil.copy("/usr/bin/sleep", directory / name)
        processes.append(subprocess.Popen([directory / name, "600"]))
    yield [process.pid for process in processes]
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(
    request: pytest.FixtureRequest, generated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[shells.Terminal | shells.Fish]:
    """A shell in a directory with some files."""
    directory = tmp_path_factory.mktemp("directory")
    for name in ("fix.so", "fix.dsc", "fix.so.1", "two words.so", "README"):
        (directory / name).touch()
    (directory / "folder").mkdir()
    (directory / "folder/inner.so").touch()
    (directory / "folder/inner.txt").touch()
    places = {"scratch": tmp_path_factory.mktemp("scratch"), "directory": directory}
    completions = generated / "completions" / request.param
    if request.param == "fish":
        yield shells.Fish(completions, **places)
        return
    with (shells.bash if request.param == "bash" else shells.zsh)(completions, **places) as terminal:
        yield terminal


def offered(shell: shells.Terminal | shells.Fish, line: str) -> set[str]:
    """Return what a shell offers, without what only some shells write: the way there, slashes, "--option="."""
    names = {each.partition("=")[2] if "=" in each else each for each in shell.complete(line)}
    return {each.rstrip("/").rpartition("/")[2] for each in names}


@pytest.mark.parametrize("program", [program for program in PROGRAMS if not program.single])
def test_commands(shell: shells.Terminal | shells.Fish, program: Program) -> None:
    assert offered(shell, f"{program.name} ") == set(program.commands)


def test_beginning_of_a_command(shell: shells.Terminal | shells.Fish) -> None:
    assert offered(shell, "ulp trig") == {"trigger"}
    if isinstance(shell, shells.Terminal):
        assert shell.line == "ulp trigger "


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (
            f"{program.name} {command.name}".strip(),
            [name for option in command.options for name in option.names],
        )
        for program in PROGRAMS
        for command in commands(program)
    ],
)
def test_every_option(shell: shells.Terminal | shells.Fish, line: str, names: list[str]) -> None:
    wanted = {name for name in names if name.startswith("--")}
    assert wanted <= shell.complete(f"{line} --") <= set(names)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ulp trigger --consistency ", {"default", "strict"}),
        ("ulp trigger --consistency=", {"default", "strict"}),
        ("ulp trigger --consistency=s", {"strict"}),
        ("klp --color=y", {"yes"}),
        ("ulp -v pat", {"patches"}),
        ("ulp --json trigger --consistency d", {"default"}),
        ("ulp trigger --timeout ", set()),
        ("zypper-lifecycle --root=fold", {"folder"}),
        ("zypper-lifecycle --root fold", {"folder"}),
        ("zypper-lifecycle ", set()),
        ("zypper-livepatch report --file=READ", {"README"}),
        ("ulp livepatchable READ", {"README"}),
        ("ulp packer fi", {"fix.dsc"}),
        ("ulp dump fi", {"fix.so"}),
        ("ulp dump fold", {"folder"}),
        ("ulp dump folder/i", {"inner.so"}),
        ("ulp trigger -v fix.so two", {"two words.so"}),
        ("ulp trigger -R fo", {"folder"}),
        ("ulp trigger --revert-all=ta", {"target"}),
        ("ulp trigger --revert-all=fi", {"fix.so", "fix.so.1"}),
    ],
)
def test_values_and_words(shell: shells.Terminal | shells.Fish, line: str, expected: set[str]) -> None:
    assert offered(shell, line) == expected


def test_names_of_processes(shell: shells.Terminal | shells.Fish) -> None:
    for line in ("ulp patches -p a-serv", "ulp check --process=a-serv", "ulp trigger --json -vp a-serv"):
        assert offered(shell, line) == {LONG_NAME}


def test_nothing_that_a_terminal_could_act_on(shell: shells.Terminal | shells.Fish) -> None:
    names = offered(shell, "ulp patches -p ")
    assert LONG_NAME in names
    assert all(name.isprintable() for name in names)


def out_of_reach() -> set[int]:
    """Return kernel threads, and processes that this user must not look at or that have ended."""
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return {pid for pid in pids if not os.path.exists(f"/proc/{pid}/exe")}


@pytest.mark.parametrize("option", ["-p ", "--process="])
def test_pids(shell: shells.Terminal | shells.Fish, servers: list[int], option: str) -> None:
    for pid in servers:
        before = out_of_reach()
        pids = {int(name) for name in offered(shell, f"ulp patches {option}{str(pid)[0]}") if name.isdigit()}
        assert pid in pids
        assert not pids & before & out_of_reach()


def test_users(shell: shells.Terminal | shells.Fish) -> None:
    wanted = {user.pw_name for user in pwd.getpwall() if user.pw_name.startswith("roo")}
    assert offered(shell, "ulp patches -u roo") == wanted


def test_what_bash_writes(generated: Path, tmp_path: Path) -> None:
    """A blank is quoted, an option that wants a value goes on, a directory too."""
    (tmp_path / "two words.so").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "scratch").mkdir()
    with shells.bash(
        generated / "completions/bash", scratch=tmp_path / "scratch", directory=tmp_path
    ) as shell:
        lines = []
        for line in (
            "ulp dump tw",
            "ulp trigger --consi",
            "ulp trigger --root=fo",
            "klp check --js",
            "ulp dump >fo",
        ):
            shell.complete(line)
            lines.append(shell.line)
    assert lines == [
        "ulp dump two\\ words.so ",
        "ulp trigger --consistency=",
        "ulp trigger --root=folder/",
        "klp check --json ",
        "ulp dump >folder/",
    ]


def test_bash_without_an_equals_sign_between_words(generated: Path) -> None:
    """Some take the "=" out of COMP_WORDBREAKS; then an option comes with its value in one word."""
    script = (
        'source "$1"; COMP_WORDS=(ulp trigger --consistency=s); COMP_CWORD=2; _ulp; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-uc", script, "bash", generated / "completions/bash/ulp"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("--consistency=strict\n", "")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_it_is_decided_how_each_value_is_completed(program: Program) -> None:
    undecided = {
        f"{parser.prog}: {value_name(action)}"
        for parser in program.parsers()
        for action in parser._actions
        if action.nargs != 0 and not action.choices and value_name(action) not in VALUES
    }
    assert not undecided, "say in spec/completion/words.py what shells offer for it"


def test_no_python_runs_at_a_tab(generated: Path) -> None:
    scripts = [path for path in (generated / "completions").rglob("*") if path.is_file()]
    assert len(scripts) == 3 * len(PROGRAMS)
    for path in scripts:
        code = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        assert not [line for line in code if "python" in line], path
