# SPDX-License-Identifier: GPL-2.0-or-later
"""The commit plugin ``zypp-livepatch-commit``: libzypp runs it for every commit, nearly always for nothing.

Speaks libzypp's frames (frames.py) and follows the commit (commit.py). Nothing that happens here may reach
zypper: what goes wrong is told in /var/log/zypper.log, and the answer is ACK. Hot path: with nothing for us
in the commit, this imports os, signal, json and re; everything else is imported where it is needed.
"""

from __future__ import annotations

import os
import signal

from zypp_plugin.commit import Commit
from zypp_plugin.frames import BadFrame, Frame, Wire
from zypp_plugin.transaction import BadBody


def main() -> int:
    """Answer libzypp's frames on standard input and output until it takes its leave."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; zypper decides what it means
    source, sink = _take(0, os.O_RDONLY), _take(1, os.O_WRONLY)
    wire = Wire(source=source, sink=sink)
    commit = Commit(zypper_input=source, say=say)
    try:
        while True:
            try:
                frame = wire.receive()
            except BadFrame as error:
                say(f"not a frame: {error}")
                wire.send("ERROR", {"message": str(error)})
                continue
            if frame is None:
                _answer(
                    commit, "PLUGINEND", b""
                )  # zypper was killed; what it has installed is there all the same
                return 0
            wire.send(*_reply(commit, frame))
            if frame.command == "_DISCONNECT":
                return 0
    except OSError as error:  # zypper has gone
        say(f"lost zypper: {error}")
        return 1


def say(text: str) -> None:
    """Write a line to zypper.log by way of libzypp, which may be slow to read it: then it is lost."""
    try:
        os.write(2, f"zypp-livepatch: {' '.join(text.split())}\n".encode(errors="replace"))
    except OSError:
        pass


def _take(fd: int, mode: int) -> int:
    """Move a descriptor of the protocol away: no child inherits it, no stray print() breaks it."""
    taken = os.dup(fd)
    nowhere = os.open(os.devnull, mode)
    os.dup2(nowhere, fd)
    os.close(nowhere)
    return taken


def _reply(commit: Commit, frame: Frame) -> tuple[str, dict[str, str]]:
    """Return the command and the headers of the answer."""
    if frame.command not in ("PLUGINBEGIN", "COMMITBEGIN", "COMMITEND", "PLUGINEND", "_DISCONNECT"):
        return "_ENOMETHOD", {"Command": frame.command}
    problem = _answer(commit, frame.command, frame.body)
    return ("ERROR", {"message": problem}) if problem else ("ACK", {})


def _answer(commit: Commit, command: str, body: bytes) -> str:
    """Do what a frame asks for; returns why it made no sense."""
    try:
        if command == "COMMITBEGIN":
            commit.begin(body)
        elif command == "COMMITEND":
            commit.end(body)
        elif command == "PLUGINEND":
            commit.finish()
    except BadBody as error:
        say(f"{command}: {error}")
        return str(error)
    except Exception as error:  # a defect of ours; an ERROR would make libzypp drop the plugin for the rest
        say(f"{command}: this is a defect: {type(error).__name__}: {error}")
    return ""
