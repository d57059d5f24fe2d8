# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes what the kernel shows of live patches and tasks into a directory, for --root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def write_patch(
    root: Path,
    name: str,
    *,
    enabled: int | str = 1,
    transition: int | str = 0,
    objects: Mapping[str, Sequence[str]] | None = None,
    patched: int | None = 1,
    replace: int | None = None,
    stack_order: int | None = None,
) -> Path:
    """Write one live patch; ``objects`` maps objects to FUNCTION,SYMPOS; None: no such file."""
    directory = root / "sys/kernel/livepatch" / name
    for each, functions in (objects or {"vmlinux": ["meminfo_proc_show,1"]}).items():
        for function in functions:
            (directory / each / function).mkdir(parents=True)
        if patched is not None:
            (directory / each / "patched").write_text(f"{patched}\n")
    files = {"enabled": enabled, "transition": transition, "replace": replace, "stack_order": stack_order}
    for file, value in files.items():
        if value is not None:
            (directory / file).write_text(f"{value}\n")
    return directory


def write_task(
    root: Path,
    pid: int,
    tid: int | None = None,
    *,
    state: int | str,
    name: str = "sleep",
    command: bytes = b"",
    stack: str | None = None,
    does: str = "S",
    flags: int = 0x400000,
) -> Path:
    """Write one thread of a process; its directory is returned.

    ``does`` and ``flags`` are its letter and its PF_* in /proc/PID/stat.
    """
    process = root / f"proc/{pid}"
    thread = process / f"task/{tid or pid}"
    thread.mkdir(parents=True)
    (thread / "patch_state").write_text(f"{state}\n")
    (thread / "comm").write_text(f"{name}\n")
    (thread / "stat").write_text(f"{tid or pid} ({name}) {does} 1 1 1 0 -1 {flags} 1 0 0 0 0 0\n")
    (process / "cmdline").write_bytes(command)
    if stack is not None:
        (thread / "stack").write_text(stack)
    return thread


def write_module(root: Path, release: str, file_name: str) -> str:
    """Say which kernel runs and put a live patch module in its place; returns its path in the root."""
    kernel = root / "proc/sys/kernel"
    kernel.mkdir(parents=True, exist_ok=True)
    (kernel / "osrelease").write_text(f"{release}\n")
    module = root / f"lib/modules/{release}/livepatch/{file_name}"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_bytes(b"")
    return f"/{module.relative_to(root)}"


def write_loaded(root: Path, *lines: str) -> None:
    """Write /proc/modules; a line is NAME [REFERENCES [USERS]], each module a live patch, the newest first."""
    (root / "proc").mkdir(exist_ok=True)
    text = ""
    for line in lines:
        fields = line.split()
        name, references, users = fields + ["1", "-"][len(fields) - 1 :]
        text += f"{name} 16384 {references} {users} Live 0x0000000000000000 (OEK)\n"
    (root / "proc/modules").write_text(text)
