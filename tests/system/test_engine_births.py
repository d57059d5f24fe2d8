# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that are born, end, or run another program while the whole machine is being patched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.support.containers import build_container, build_library
from tests.support.livepatches import ulp

_LIBRARY = "int answer(void) { return 1; }"
_FIX = "int new_answer(void) { return 2; }"

# forks children that live on and tell at the end what they answer, for as long as the file "go" is there
_FORKER = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int answer(void);
int main(void) {
    signal(SIGCHLD, SIG_IGN);
    setvbuf(stdout, NULL, _IONBF, 0);
    puts("ready");
    for (int born = 0; access("go", F_OK) == 0; born++) {
        if (born < 500 && fork() == 0) {
            while (access("tell", F_OK) != 0) usleep(20000);
            _exit(write(1, answer() == 2 ? "2" : "1", 1) != 1);
        }
        usleep(3000);
    }
    pause();
}
"""

# runs itself anew all the time
_EXECUTER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int answer(void);
int main(int count, char **words) {
    char number[20];
    (void)count;
    answer();
    usleep(1500 + (words[1] ? atoi(words[1]) % 20 * 1000 : 0)); /* shorter or longer, in turn */
    snprintf(number, sizeof number, "%d", words[1] ? atoi(words[1]) + 1 : 0);
    execl(words[0], words[0], number, NULL);
    return 1;
}
"""


def _program(place: Path, source: str, library: Path, *, name: str) -> Path:
    path = place / name
    command = [
        "gcc",
        "-O1",
        "-x",
        "c",
        "-",
        "-x",
        "none",
        str(library),
        f"-Wl,-rpath,{place}",
        "-o",
        str(path),
    ]
    subprocess.run(command, input=source, text=True, check=True)
    return path


def test_children_born_meanwhile_are_patched_too(tmp_path: Path) -> None:
    library = build_library(tmp_path, _LIBRARY, name="libbirths.so.0")
    container = build_container(tmp_path, _FIX, target=library, functions={"answer": "new_answer"})
    forker = _program(tmp_path, _FORKER, library, name="forker")
    (tmp_path / "go").touch()
    with subprocess.Popen(
        [forker], stdout=subprocess.PIPE, cwd=tmp_path, start_new_session=True, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)
            said = ulp("trigger", "--json", container)
            (tmp_path / "go").unlink()
            time.sleep(0.05)
            (tmp_path / "tell").touch()
            time.sleep(1)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        answers = process.stdout.read()
    assert said.status == 0, said
    assert len(answers) > 30
    assert set(answers) == {"2"}, f"{answers.count('1')} of {len(answers)} children run the old function"


def test_a_process_that_runs_itself_anew_all_the_time(tmp_path: Path) -> None:
    library = build_library(tmp_path, _LIBRARY, name="libanew.so.0")
    container = build_container(tmp_path, _FIX, target=library, functions={"answer": "new_answer"})
    executer = _program(tmp_path, _EXECUTER, library, name="executer")
    with subprocess.Popen([executer], cwd=tmp_path) as process:
        try:
            reasons = set()
            tries = 0
            deadline = time.monotonic() + 30
            # how often a program is met at rest depends on how busy the machine is
            while tries < 25 or ("applied" not in reasons and time.monotonic() < deadline):
                tries += 1
                said = ulp("trigger", "-p", str(process.pid), "--json", container)
                reasons.add(said.row["reason"])
            assert process.poll() is None
            assert reasons <= {"applied", "process-gone", "loading", "no-such-library", "static-binary"}, (
                said
            )
            assert "applied" in reasons
        finally:
            process.kill()
