# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed before zypper changes it, asked for in a process of its own with a time limit.

libzypp waits while this runs, and the rpm database may be slow, locked or able to crash its reader: none of
that may reach zypper.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

LIMIT = 5.0  # seconds
_LARGEST = 1 << 20  # bytes


class Installed(NamedTuple):
    """What was found, by the names of packages."""

    versions: dict[str, list[str]]  # EVRs
    cves: dict[str, list[str]]  # that a kernel live patch fixes
    problem: str  # why there is nothing


def look_up(names: Sequence[str], *, root: str, limit: float = LIMIT) -> Installed:
    """Return what is installed; never raises and never takes longer than ``limit`` seconds."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _answer(sink, names, root)
        finally:
            os._exit(0)
    os.close(sink)
    try:
        data, complete = _read(source, time.monotonic() + limit)
    finally:
        os.close(source)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not complete:
        return Installed({}, {}, f"the rpm database did not answer within {limit:g} s")
    try:
        return Installed(*json.loads(data))
    except ValueError:
        return Installed({}, {}, "reading the rpm database ended in a crash")


def _answer(sink: int, names: Sequence[str], root: str) -> None:
    from host import rpmdb
    from host.errors import Error
    from klp.package import fixes_of
    from lifecycle.kinds import KERNEL_LIVE_PATCH

    versions: dict[str, list[str]] = {}
    cves: dict[str, list[str]] = {}
    problem = ""
    try:
        for package in rpmdb.installed(names, root=root):
            versions.setdefault(package.name, []).append(package.evr)
            if KERNEL_LIVE_PATCH.fullmatch(package.name):
                cves.setdefault(package.name, []).extend(fixes_of(package, root=root).cves)
    except Error as error:
        problem = error.sentence
    data = json.dumps([versions, cves, problem]).encode()
    while data:
        data = data[os.write(sink, data) :]


def _read(source: int, deadline: float) -> tuple[bytes, bool]:
    """Read to the end of input; False if that did not come in time."""
    data = b""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and len(data) < _LARGEST:
        if poll.poll(left * 1000):
            chunk = os.read(source, 1 << 16)
            if not chunk:
                return data, True
            data += chunk
    return data, False
