# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``ulp``: its --help screens, and what it costs to start."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.support.livepatches import ULP, ulp
from ulp.cli import COMMANDS


def test_help_of_the_program() -> None:
    expected = """\
        Usage: ulp COMMAND [OPTION]... [WORD]...

        Live patches for libraries and programs in running processes.

        A live patch is a container: a shared object with new functions for one build of
        a library or program, which it names by its build-id. Applied to a process, the
        new functions run from the next call on. The process goes on running and keeps
        its pid; nothing has to be preloaded or restarted. A process that preloads
        libpulp is patched through libpulp. All that was done is recorded in the process
        itself, so it can be listed, checked and taken back at any time.

        Commands:
          trigger         Apply live patches to running processes, or take them back.
          patches         List the live patches that running processes hold.
          check           Check that a live patch is applied, in some processes or
                          wherever its library is used.
          status          Say which processes run the fixed functions, and why the
                          others do not.
          lifecycle       Tell until when the user-space live patches in use are
                          maintained.
          downgrade       Go back to an older package of user-space live patches, and
                          bring the processes back with it.
          watch           Patch processes that start later, when they start.
          messages        Show what libpulp has noted in a process.
          set_patchable   Enable or disable live patching through libpulp in running
                          processes.
          dump            Show what is in a live patch container.
          packer          Make a live patch container from a shared object and its
                          description.
          post            Finish a library that was built with space for libpulp's live
                          patches.
          extract         Write down the name, build-id and symbols of a library, so
                          that live patches can be made without it.
          livepatchable   Say whether a file can be live patched, by which engine, and
                          whether it is a live patch itself.

        Options:
          -h, -?, --help          show this help
              --usage             show all options in a few lines
          -V, --version           show the version
              --color=WHEN        colours: auto (on a terminal, unless NO_COLOR is set),
                                  yes, no
              --debug             show a traceback when something goes wrong

        'ulp COMMAND --help' describes a command.
    """
    said = ulp("--help")
    assert (said.status, said.stderr, said.stdout) == (0, "", textwrap.dedent(expected))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_a_terminal_and_says_how_it_ends(command: str) -> None:
    said = ulp(command, "--help")
    assert (said.status, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert lines[0].startswith(f"Usage: ulp {command} [OPTION]...")
    assert max(map(len, lines)) <= 80
    assert "Exit status:" in said.stdout
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("words", [["--version"], ["trigger", "--help"], ["nonsense"]])
def test_what_costs_time_is_not_imported_for_nothing(words: list[str]) -> None:
    heavy = {
        "rich",
        "elftools",
        "capstone",
        "rpm",
        "solv",
        "json",
        "subprocess",
        "ulp.fleet",
        "ulp.engines.direct",
    }
    if words == ["--version"]:
        heavy |= {"argparse", "dataclasses", "ulp.commands.trigger"}
    code = (
        f"import os, sys; sys.argv[1:] = {words!r}; os._exit = print\nfrom ulp.cli import main\nmain()\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_console_script_runs() -> None:
    done = subprocess.run([ULP, "-V"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("ulp (zypp-livepatch) ")
