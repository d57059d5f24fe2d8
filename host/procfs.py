# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc as this project reads it (proc(5)).

A process whose main thread has exited answers ESRCH under /proc/PID but not under /proc/PID/task/TID, so what needs
the memory of a process asks ``live_thread`` for a thread to look through.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from host.errors import Error, ExitStatus

# include/linux/sched.h: tasks that never run code of the process they are listed in
_PF_IO_WORKER = 0x00000010
_PF_USER_WORKER = 0x00004000
_PF_KTHREAD = 0x00200000
NO_USER_CODE = _PF_IO_WORKER | _PF_USER_WORKER | _PF_KTHREAD


class Mapping(NamedTuple):
    """One line of /proc/PID/maps; ``path`` is empty for anonymous memory and keeps its " (deleted)"."""

    start: int
    end: int
    permissions: str  # "r-xp"
    offset: int
    device: str  # "fe:00"
    inode: int
    path: str


class TaskState(NamedTuple):
    """What /proc/PID/task/TID/stat says of a thread."""

    state: str  # R, S, D, T, t, Z, X, I
    flags: int  # PF_* of include/linux/sched.h

    @property
    def is_kernel_thread(self) -> bool:
        """Whether it is one of the kernel's own threads."""
        return bool(self.flags & _PF_KTHREAD)


def read(path: str) -> bytes:
    """Return the whole of a small procfs file; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def parse_maps(text: bytes) -> tuple[Mapping, ...]:
    """Parse the text of /proc/PID/maps; raises ValueError on a line that is none."""
    mappings = []
    # of all control characters in a path, the kernel escapes the newline only: splitlines() would see more lines
    for line in os.fsdecode(text).removesuffix("\n").split("\n") if text else ():
        fields = line.split(None, 5)
        if len(fields) < 5:
            raise ValueError(f"not a line of /proc/PID/maps: {line[:80]!r}")
        start, _, end = fields[0].partition("-")
        # the kernel separates the path by blanks only, so blanks at its end are part of it
        path = fields[5] if len(fields) == 6 else ""
        mapping = Mapping(
            int(start, 16),
            int(end, 16),
            fields[1],
            int(fields[2], 16),
            fields[3],
            int(fields[4]),
            path,
        )
        if mapping.start >= mapping.end or len(mapping.permissions) != 4:
            raise ValueError(f"not a line of /proc/PID/maps: {line[:80]!r}")
        mappings.append(mapping)
    return tuple(mappings)


def no_proc() -> Error:
    """Return the error of a machine, or chroot, that shows no processes, or those of others than ours."""
    return Error(
        "processes cannot be looked up, /proc is not there",
        hint="Mount it: mount -t proc proc /proc",
        status=ExitStatus.UNAVAILABLE,
    )


def pids() -> list[int]:
    """Return the process ids under /proc, ascending; raises Error where it is not there: an empty list would lie."""
    if not os.path.exists("/proc/self"):
        raise no_proc()
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def threads(pid: int) -> list[int]:
    """Return the thread ids of a process; empty when it is gone."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def task_state(pid: int, tid: int) -> TaskState | None:
    """Return what a thread is doing, None when it is gone."""
    try:
        return parse_stat(read(f"/proc/{pid}/task/{tid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def parse_stat(text: bytes) -> TaskState:
    """Parse the text of /proc/PID/task/TID/stat; raises ValueError if it is none."""
    # the name in parentheses may hold blanks and parentheses itself
    state, _, _, _, _, _, flags, _ = text[text.rindex(b")") + 2 :].split(None, 7)
    return TaskState(state.decode("ascii"), int(flags))


def has_children(pid: int, tid: int) -> bool:
    """Say whether a thread is a parent, as far as the kernel tells (CONFIG_PROC_CHILDREN); false when it is gone."""
    try:
        return bool(read(f"/proc/{pid}/task/{tid}/children"))
    except OSError:
        return False


def is_kernel_thread(pid: int) -> bool:
    """Say whether a process is a kernel thread; false when it is gone."""
    state = task_state(pid, pid)
    return state is not None and state.is_kernel_thread


def live_thread(pid: int) -> int | None:
    """Return the id of a thread that still runs, the main one if it does; None when there is none."""
    if _lives(pid, pid):  # as nearly always: then nobody needs the list
        return pid
    return next((tid for tid in threads(pid) if tid != pid and _lives(pid, tid)), None)


def _lives(pid: int, tid: int) -> bool:
    state = task_state(pid, tid)
    return state is not None and state.state not in "ZX"


def status(pid: int, tid: int | None = None) -> dict[str, str]:
    """Return /proc/PID/status, or that of one thread, as a dictionary; raises OSError."""
    path = f"/proc/{pid}/status" if tid is None else f"/proc/{pid}/task/{tid}/status"
    lines = read(path).decode("utf-8", "surrogateescape").split("\n")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines) if value}


def status_value(pid: int, tid: int, name: str) -> str:
    """Return one value of a thread's status, empty where the kernel does not tell it; raises OSError."""
    _, _, rest = read(f"/proc/{pid}/task/{tid}/status").partition(f"\n{name}:".encode())
    return rest.partition(b"\n")[0].strip().decode("utf-8", "surrogateescape")


def tracer(pid: int, tid: int) -> int:
    """Return the id of the thread that traces a thread; 0 where none does or it has ended."""
    try:
        return int(status_value(pid, tid, "TracerPid") or 0)
    except OSError:
        return 0


def dispositions(pid: int, tid: int) -> tuple[int, int]:
    """Return the masks of the signals that a process ignores and catches, by a thread's status; raises OSError."""
    _, _, rest = read(f"/proc/{pid}/task/{tid}/status").partition(b"\nSigIgn:")
    ignored, _, rest = rest.partition(b"\nSigCgt:")
    return int(ignored, 16), int(rest.partition(b"\n")[0], 16)


def name(pid: int) -> str:
    """Return the process's name as it calls itself (untrusted text), at most 15 bytes; empty when it is gone."""
    try:
        return os.fsdecode(read(f"/proc/{pid}/comm").rstrip(b"\n"))
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot: with the pid it names a process for ever."""
    try:
        text = read(f"/proc/{pid}/stat")
    except OSError:
        return None
    return int(text[text.rindex(b")") + 2 :].split()[19])


def auxiliary_vector(pid: int, tid: int) -> dict[int, int]:
    """Return the values that the kernel gave the program at its start (getauxval(3)); raises OSError."""
    text = read(f"/proc/{pid}/task/{tid}/auxv")
    words = memoryview(text[: len(text) // 16 * 16]).cast("Q").tolist()
    return dict(zip(words[::2], words[1::2], strict=True))
