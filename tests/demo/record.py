# SPDX-License-Identifier: GPL-2.0-or-later
"""Records docs/recording.svg, the terminal in README.md: ``python3 -m tests.demo.record``.

Everything is real: zypper installs a package in a throw-away root, processes that run there are patched. What the
commands write to a terminal is what is drawn.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support import rpms
from tests.support.containers import build_container
from tests.support.sandbox import PROJECT, Sandbox, sandbox
from tests.support.targets import answers_library, caller, running

SVG = PROJECT / "docs/recording.svg"
_COLUMNS = 104
# what Debian's rpm and zypper say, and openSUSE's do not
_DEBIANS = re.compile(r"rpm: |Additional rpm output|exited with status")
_PACKAGE = "example-livepatches"
_LIBRARY = "libexample.so.1"
_COMMANDS = (
    f"zypper --non-interactive install {_PACKAGE}",
    "zypper livepatch",
    "zypper livepatch --cve CVE-2026-12345",
    "zypper livepatch report",
)


def record() -> str:
    """Run the commands and return the picture."""
    with ExitStack() as stack:
        machine = stack.enter_context(sandbox(private=True))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        library = answers_library(name=_LIBRARY)
        container = build_container(
            place,
            "long new_answer(void) { return 1; }\n",
            target=library,
            functions={"answer_0": "new_answer"},
            comments="CVE-2026-12345\n",
            name="libexample_1.0_livepatch1.so",
        )
        machine.add_packages(rpms.livepatch_spec(_PACKAGE, [container]))
        inside = tuple(machine.argv([]))
        for name in ("webserver", "webserver", "mailserver"):
            stack.enter_context(running(caller(library, name=name), wrapper=inside, inner=True))
        shown = [(command, _at_terminal(machine, command)) for command in _COMMANDS]
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, text in shown:
        console.print(Text("# ", style="green") + Text(command, style="bold"))
        console.print(Text.from_ansi(text), end="\n\n")
    return console.export_svg(title="zypp-livepatch")


def _at_terminal(machine: Sandbox, command: str) -> str:
    """Return what a command leaves on the screen of a terminal."""
    words = ["script", "--quiet", "--command", f"stty cols {_COLUMNS} rows 50; {command}", "/dev/null"]
    environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    done = subprocess.run(
        machine.argv(words), stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
    )
    lines = done.stdout.decode().replace("\r\n", "\n").split("\n")
    # what was drawn over is not seen any more
    seen = [
        line.rstrip("\r").rpartition("\r")[2].replace("\x1b[K", "").replace("\x1b[2K", "") for line in lines
    ]
    return "\n".join(line for line in seen if line.strip() and not _DEBIANS.search(line))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SVG
    target.write_text(record(), encoding="utf-8")
    print(target)
