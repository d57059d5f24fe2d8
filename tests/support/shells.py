# SPDX-License-Identifier: GPL-2.0-or-later
"""Real shells at a terminal, asked what they offer at a TAB.

Each offers what ``complete(line)`` returns: the candidates, as a set, where an option that goes on with a value may
have a "=" behind it; ``line`` is then what stands on the command line afterwards, where the shell can tell.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_DEADLINE = 60.0  # seconds
_TAB_AND_FINISH = b"\t\x18f"

_ZSH = """
PS1=; setopt no_auto_list no_beep
fpath=({completions} $fpath); autoload -Uz compinit; compinit -u -D
compadd() {{
    local -a offered
    [[ ${{(j: :)@}} == *-[OAD]\\ * ]] || {{ builtin compadd -O offered "$@"; print -rl -- ${{(Q)offered}} >>$RECORD }}
    builtin compadd "$@"
}}
finish() {{ print -r -- "=$BUFFER" >>$RECORD; BUFFER= }}
zle -N finish; bindkey '^Xf' finish
print = >>$RECORD
"""
_BASH = """
PS1=; bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'
for file in {completions}/*; do source "$file"; done
record() {{ local function; function=_${{1//-/_}}; $function "$@"; printf '%s\\n' "${{COMPREPLY[@]}}" >>$RECORD; }}
for file in {completions}/*; do complete -F record "${{file##*/}}"; done
finish() {{ printf '=%s\\n' "$READLINE_LINE" >>$RECORD; READLINE_LINE=; }}
bind -x '"\\C-xf": finish'
echo = >>$RECORD
"""


class Terminal:
    """An interactive shell in a directory; what it offers it writes to a file."""

    def __init__(self, command: list[str], setup: str, *, scratch: Path, directory: Path) -> None:
        self._record = scratch / "record"
        self._record.touch()
        script = scratch / "setup"
        script.write_text(setup)
        self._terminal, other = pty.openpty()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "RECORD": str(self._record),
        }
        self._process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        os.close(other)
        os.write(self._terminal, f"source {script}\n".encode())
        self._wait()

    def complete(self, line: str) -> set[str]:
        """Press TAB behind the line, and return what is offered; ``line`` is what the shell made of it."""
        self._record.write_text("")
        os.write(self._terminal, line.encode() + _TAB_AND_FINISH)
        *offered, last = self._wait()
        self.line = last.removeprefix("=")
        return {each.removesuffix("=") for each in offered if each}

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self) -> list[str]:
        """Return the lines of the record once the last one is there, which begins with a "="."""
        screen = b""
        end = time.monotonic() + _DEADLINE
        while time.monotonic() < end:
            if select.select([self._terminal], [], [], 0.01)[0]:
                screen += os.read(self._terminal, 1 << 16)
            text = self._record.read_text()
            lines = text.splitlines()
            if text.endswith("\n") and lines[-1].startswith("="):
                return lines
        raise TimeoutError(f"the shell gives no answer, its screen: {screen.decode(errors='replace')}")


def zsh(completions: Path, *, scratch: Path, directory: Path) -> Terminal:
    """Start a zsh that finds its completions in a directory."""
    setup = _ZSH.format(completions=completions)
    return Terminal(["zsh", "-f", "-i"], setup, scratch=scratch, directory=directory)


def bash(completions: Path, *, scratch: Path, directory: Path) -> Terminal:
    """Start a bash, without bash-completion, that has loaded all completions of a directory."""
    setup = _BASH.format(completions=completions)
    return Terminal(["bash", "--norc", "--noprofile", "-i"], setup, scratch=scratch, directory=directory)


class Fish:
    """fish, which tells what it offers without a terminal."""

    def __init__(self, completions: Path, *, scratch: Path, directory: Path) -> None:
        self._completions = completions
        self._scratch = scratch
        self._directory = directory

    def complete(self, line: str) -> set[str]:
        """Return what is offered behind the line, as the words that would then stand there."""
        file = self._completions / f"{line.partition(' ')[0]}.fish"
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {file}; complete -C $argv[1]", line],
            cwd=self._directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self._scratch), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return {each.partition("\t")[0] for each in done.stdout.splitlines()}
