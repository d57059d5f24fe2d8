# SPDX-License-Identifier: GPL-2.0-or-later
"""A little library with a mistake, a program that prints its answer, and a live patch package."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.demo import stage
from tests.support import rpms
from tests.support.containers import build_container, build_library
from tests.support.sandbox import Sandbox

PACKAGE = "libanswer0-livepatches"
LIBRARY = "int answer(void) { return 6 * 7 - 1; }"
FIX = "int fixed_answer(void) { return 6 * 7; }"
PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
int answer(void);
int main(void) {
    for (int second = 1;; second++) {
        printf("process %d, second %d: six times seven is %d\n", getpid(), second, answer());
        fflush(stdout);
        sleep(1);
    }
}
"""


def play(machine: Sandbox, bench: Path) -> None:
    """Patch a program of our own; ``bench`` is a directory to build in."""
    place = machine.root / "srv/demo"
    place.mkdir(parents=True)
    stage.act("A library with a mistake, and a program that uses it")
    stage.show(f"libanswer.so.0:  {LIBRARY}")
    library = build_library(bench, LIBRARY, name="libanswer.so.0")
    (bench / "program.c").write_text(PROGRAM)
    subprocess.run(
        ["gcc", "-o", place / "program", bench / "program.c", library, "-Wl,-rpath,/srv/demo"], check=True
    )
    shutil.copy(library, place)
    stage.tell("The program is started, with no preload and no preparation:")
    output = place / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            machine.argv(["/srv/demo/program"]), stdin=subprocess.DEVNULL, stdout=file
        ) as process,
    ):
        try:
            shown = watch(output, 0, lines=2)

            stage.act("A live patch for it, as a package in a repository")
            stage.show(f"libanswer_1_livepatch1.so:  {FIX}")
            container = build_container(
                bench,
                FIX,
                target=library,
                functions={"answer": "fixed_answer"},
                comments="CVE-2042-0042 bsc#4200042",
                name="libanswer_1_livepatch1.so",
            )
            machine.add_packages(rpms.livepatch_spec(PACKAGE, [container]))
            stage.tell(
                f"The container knows the library by its build-id. It is now in {PACKAGE}-1-1.noarch.rpm."
            )

            stage.act("zypper installs it")
            stage.command(machine, "zypper", "--non-interactive", "install", PACKAGE)

            stage.act("The program, a moment later")
            shown = watch(output, shown, lines=2, fresh=True)
            last = output.read_text().splitlines()[shown - 1]
            first = output.read_text().splitlines()[0]
            if not last.endswith(" 42") or last.split(",")[0] != first.split(",")[0]:
                stage.fail(f"the program says: {last}")
            stage.good("the right answer, from the same process")

            stage.act("The proof")
            stage.command(machine, "zypper", "livepatch", "report")
            print()
            stage.command(machine, "ulp", "patches")
        finally:
            process.kill()


def watch(output: Path, shown: int, *, lines: int, fresh: bool = False) -> int:
    """Show what a program prints until so many new lines have come; returns how many there are in all."""
    shown = len(output.read_text().splitlines()) if fresh else shown
    end = shown + lines
    patience = time.monotonic() + 10
    while shown < end:
        text = output.read_text()
        ready = text.splitlines()[: text.count("\n")]
        for line in ready[shown:end]:
            stage.line(line, fresh=fresh)
        shown = max(shown, min(len(ready), end))
        if time.monotonic() > patience:
            stage.fail("the program prints nothing any more")
        time.sleep(0.05)
    return shown
