# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of ours in copies of the agent, which has imported what they import: that is most of their time."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

HOME = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8"}  # what commands are started with


def copied(program: str, words: Sequence[str], user: int = 0) -> dict[str, Any]:
    """Run a program of ours to its end; returns its status, output and errors."""
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    pid = os.fork()
    if pid == 0:
        _become([program, *words], user, output, errors)
    _, status = os.waitpid(pid, 0)
    return {"status": os.waitstatus_to_exitcode(status), "output": text(output), "errors": text(errors)}


def text(descriptor: int) -> str:
    """Return what was written to a memory file, and close it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, errors="backslashreplace") as file:
        return file.read()


def _become(words: list[str], user: int, output: int, errors: int) -> NoReturn:
    status = -1
    try:
        os.setresuid(user, user, user)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.environ.update(HOME)
        sys.argv = words
        status = importlib.import_module(f"{words[0]}.cli").main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
