# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from host.errors import Error, ExitStatus
from host.zypper import Finished, downgrade_command, explain, run


def test_the_command_that_is_shown_is_the_one_that_is_run() -> None:
    packages = ["a=1-2", "b=1:3-4"]
    assert " ".join(downgrade_command(packages, transactional=False)) == (
        "zypper --non-interactive install --oldpackage a=1-2 b=1:3-4"
    )
    assert " ".join(downgrade_command(packages, transactional=True)) == (
        "transactional-update --non-interactive --continue pkg install --oldpackage a=1-2 b=1:3-4"
    )


def test_what_it_prints_comes_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Finished(3)
    assert capfd.readouterr() == ("out\n", "err\n")
    assert run(["echo", "out"], to_errors=True) == Finished(0)
    assert capfd.readouterr() == ("", "out\n")


def test_it_can_ask_nobody() -> None:
    assert run(["sh", "-c", "read answer"]).status == 1


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(Error, match="/nonexistent/zypper cannot be run: No such file") as caught:
        run(["/nonexistent/zypper"])
    assert caught.value.status is ExitStatus.UNAVAILABLE


def test_control_c_is_passed_on() -> None:
    """A terminal sends it to its foreground; the command has a group of its own, and so have those that it starts."""
    script = (
        "import os, sys\n"
        "from host import zypper\n"
        "command = 'trap \"echo asked; exit 5\" INT; kill -INT -$0; for i in $(seq 2000); do sleep 0.01; done'\n"
        "print(zypper.run(['sh', '-c', command, str(os.getpid())]), flush=True)\n"
        "print(zypper.run(['sh', '-c', 'kill -INT $$; exit 6']), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "asked",
        "Finished(status=5, interrupted=True)",
        f"Finished(status={-signal.SIGINT}, interrupted=False)",
    ]


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (Finished(7), "zypper ended with 7: another zypper is at work"),
        (Finished(99), "zypper ended with 99: its output says more"),
        (Finished(-9), "zypper was ended by signal 9"),
    ],
)
def test_a_bad_end_is_explained(finished: Finished, words: str) -> None:
    assert not finished.good
    assert explain(["zypper", "install"], finished) == words
    assert explain(["transactional-update"], Finished(1)) == "transactional-update ended with 1"


@pytest.mark.parametrize("status", [0, 100, 101, 102, 103, 106])
def test_a_good_end(status: int) -> None:
    assert Finished(status).good
