# SPDX-License-Identifier: GPL-2.0-or-later
"""What the audience sees: headings, sentences, code, commands and what they print."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from host.terminal import paint, sanitize
from tests.support.sandbox import Sandbox

_WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 100)
_ink = paint()
_act = 0


def act(title: str) -> None:
    """Begin a numbered part."""
    global _act  # noqa: PLW0603 - one demo, one stage
    _act += 1
    print(f"\n{_ink.strong(f'{_act}. {title}')}\n", flush=True)


def tell(text: str) -> None:
    """Say something, in lines that fit."""
    print(
        textwrap.fill(" ".join(text.split()), _WIDTH, initial_indent="   ", subsequent_indent="   "),
        flush=True,
    )


def show(text: str) -> None:
    """Show code."""
    print(textwrap.indent(text.strip("\n"), "       "), flush=True)


def good(text: str) -> None:
    """Say that something is as promised."""
    print(f"   {_ink.good('✓')} {sanitize(text)}", flush=True)


def fail(text: str) -> None:
    """End the demo: something is not as promised."""
    sys.exit(f"   {_ink.bad('✗')} {sanitize(text)}")


def line(text: str, *, fresh: bool) -> None:
    """Show a line that a program has printed; a fresh one says something new."""
    print(f"       {_ink.good(sanitize(text)) if fresh else sanitize(text)}", flush=True)


def command(sandbox: Sandbox, *words: str) -> None:
    """Show a command and run it in the sandbox, at a terminal as a person would."""
    print(f"   {_ink.strong('# ' + ' '.join(words))}", flush=True)
    if sys.stdout.isatty():
        status = subprocess.run(sandbox.argv(words), stdin=subprocess.DEVNULL).returncode
    else:  # a terminal for the command, so that a log has what a person would see, line by line
        terminal = ["script", "--quiet", "--return", "--command", " ".join(words), "/dev/null"]
        done = subprocess.run(sandbox.argv(terminal), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        print(*readable(done.stdout.decode(errors="replace")), sep="\n", flush=True)
        status = done.returncode
    if status:
        fail(f"'{' '.join(words)}' ended with {status}")


def readable(shown: str) -> list[str]:
    """Return the lines that a terminal shows in the end: without colours, and without what was drawn over.

    Escapes are control sequences of ECMA-48 5.4, as in ``ESC [ 2 K``.
    """
    plain = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", shown)
    drawn = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in plain.split("\n")]
    return [sanitize(line) for line in drawn]


def introduce(title: str, sentences: Sequence[str]) -> None:
    """Say what this is about."""
    print(f"{_ink.strong(title)}\n")
    for sentence in sentences:
        tell(sentence)
