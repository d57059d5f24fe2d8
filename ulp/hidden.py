# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that may not be looked at: which they are, and why; without what cannot hold a live patch anyway."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from host import procfs

_CAP_SYS_PTRACE: Final = 1 << 19  # capabilities(7)
_NAMED: Final = 5  # in a sentence


class Hidden(NamedTuple):
    """A process that runs code of its own, which this user may not look at."""

    pid: int
    name: str  # untrusted


def hidden(pid: int) -> Hidden | None:
    """Return the process whose memory map the kernel refuses; None for one that has none.

    A kernel thread and a zombie have none, nor has who ended meanwhile; the kernel refuses those as well.
    """
    thread = procfs.live_thread(pid)
    if thread is None or procfs.is_kernel_thread(pid):
        return None
    return Hidden(pid, procfs.name(pid))


def sentence(processes: Sequence[Hidden]) -> str:
    """Say how many could not be looked at, why, and to root which ones."""
    number = f"{len(processes)} process{'es' * (len(processes) != 1)}"
    if os.geteuid():
        return f"{number} of other users could not be looked at; root can"
    return f"{number} could not be looked at, {_why()}: {names(processes)}"


def names(processes: Sequence[Hidden]) -> str:
    """Name some of them."""
    more = f" and {len(processes) - _NAMED} more" if len(processes) > _NAMED else ""
    return ", ".join(f"{each.name} ({each.pid})" for each in processes[:_NAMED]) + more


def rows(processes: Sequence[Hidden]) -> list[dict[str, object]]:
    """Return them as JSON has them (docs/json.md)."""
    return [{"pid": each.pid, "name": each.name} for each in processes]


def _why() -> str:
    capabilities = int(procfs.status_value(os.getpid(), os.getpid(), "CapEff") or "0", 16)
    if not capabilities & _CAP_SYS_PTRACE:
        return "this root lacks CAP_SYS_PTRACE"
    return "the system's security policy forbids it"
