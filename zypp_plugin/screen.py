# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal of the person who typed the zypper command.

The plugin's own descriptors are pipes to libzypp. What counts is where zypper writes: /proc/PID/fd/1 of
zypper, if that is a terminal, can be opened once more (proc(5)). A program that is not zypper (YaST,
PackageKit) draws its own screen and is left alone, and so is a zypper that was told to be quiet or to write
for machines.
"""

from __future__ import annotations

import os

# zypper's global options (zypper(8)) that ask for silence, and those with a value, which is not the command
_SILENT = {"--quiet", "--xmlout", "--terse"}
_SILENT_LETTERS = "qxt"
_VALUED = {"--config", "--root", "--installroot", "--reposd-dir", "--cache-dir", "--raw-cache-dir"}
_VALUED |= {
    "--solv-cache-dir",
    "--pkg-cache-dir",
    "--plus-repo",
    "--plus-content",
    "--userdata",
    "--releasever",
}
_VALUED_LETTERS = "cRDCp"


class Screen:
    """Zypper's terminal, written to without ever waiting for it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._color = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        self._progress = False

    def progress(self, done: int, total: int) -> None:
        """Draw how far it is, over what was drawn before."""
        if self._color:  # a terminal that can go back to the start of the line
            self._write(f"\r\x1b[KLive patching: {done} of {total} processes")
            self._progress = True

    def line(self, text: str, *, mood: str) -> None:
        """Write one line in the colour of its mood: ``good``, ``partly``, ``bad`` or none."""
        from host.terminal import sanitize

        code = {"good": "32;1", "partly": "33;1", "bad": "31;1"}.get(mood, "")
        head, colon, rest = sanitize(text).partition(":")
        if self._color and code and colon:
            head = f"\x1b[{code}m{head}\x1b[0m"
        clear = "\r\x1b[K" if self._progress else ""
        self._progress = False
        self._write(f"{clear}{head}{colon}{rest}\r\n")

    def _write(self, text: str) -> None:
        try:
            os.write(self._fd, text.encode(errors="replace"))
        except OSError:  # hung up, or stopped with Ctrl-S and full
            pass


def open_screen(zypper: int) -> Screen | None:
    """Return the terminal that a zypper process writes to; None without one, or if it shall be quiet."""
    try:
        # not its comm: libzypp 17.34 and later call the main thread "Zypp-main"
        with open(f"/proc/{zypper}/cmdline", "rb") as file:
            name, *words = file.read().decode(errors="replace").split("\0")[:-1] or [""]
        if name.rpartition("/")[2] != "zypper" or wants_silence(words):
            return None
        fd = os.open(f"/proc/{zypper}/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not os.isatty(fd):
        os.close(fd)
        return None
    return Screen(fd)


def wants_silence(words: list[str]) -> bool:
    """Tell whether the options before zypper's command ask for quiet or for output that machines read."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return False
        if word in _SILENT:
            return True
        if word in _VALUED:
            next(rest, None)
        elif not word.startswith("--"):
            for at, letter in enumerate(word[1:], start=2):
                if letter in _SILENT_LETTERS:
                    return True
                if letter in _VALUED_LETTERS:
                    if at == len(word):
                        next(rest, None)
                    break
    return False
