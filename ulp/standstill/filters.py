# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a thread's seccomp filters let it make the system calls that are asked of it."""

from __future__ import annotations

from collections.abc import Iterable

from host import procfs
from ulp import seccomp
from ulp.arch import x86_64 as arch
from ulp.arch.x86_64_stub import DESCRIPTOR, Call
from ulp.result import Reason, Refusal
from ulp.tracee import Thread


def seccomp_refusal(pid: int, thread: Thread, calls: Iterable[Call], *, pc: int) -> Refusal | None:
    """Return why the thread's seccomp filters forbid the calls, None when they do not."""
    mode = procfs.status_value(pid, thread.tid, "Seccomp")
    if mode in {"0", ""}:
        return None
    if mode == "1":
        return Refusal(Reason.SECCOMP, "seccomp's strict mode allows no system call that is needed")
    try:
        filters = thread.seccomp_filters()
    except OSError as error:
        return Refusal(
            Reason.SECCOMP, f"its seccomp filter cannot be read ({error.strerror}), so it is not tried"
        )
    for call in calls:
        try:
            action = seccomp.verdict(
                filters,
                number=call.number,
                architecture=arch.AUDIT_ARCHITECTURE,
                pc=pc,
                arguments=[value if value != DESCRIPTOR else 3 for value in call.arguments],
            )
        except seccomp.BadFilter as error:
            return Refusal(Reason.SECCOMP, f"its seccomp filter cannot be understood ({error})")
        if action not in {seccomp.ALLOW, seccomp.LOG}:
            return Refusal(Reason.SECCOMP, f"its seccomp filter forbids {arch.CALL_NAMES[call.number]}")
    return None
