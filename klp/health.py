# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel has warned or crashed since it booted: then nobody knows what a change of live patches meets."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass

from klp import sysfs

_TAINTED = "proc/sys/kernel/tainted"
_LOG = "dev/kmsg"
# Documentation/admin-guide/tainted-kernels.rst of the kernel
_FLAGS = {
    5: ("B", "it met a damaged page"),
    7: ("D", "it has crashed (oops)"),
    9: ("W", "it has warned"),
    14: ("L", "a processor was stuck"),
}
_TROUBLE = re.compile(
    r"WARNING: .*\bat\b|\bBUG: |kernel BUG at|\bOops\b|general protection fault|double fault|Unable to handle kernel"
)
_RECORD = 1 << 13  # bytes: CONSOLE_EXT_LOG_MAX of the kernel, the longest that one read(2) gives
_MOST_RECORDS = 1 << 18
_LARGEST = 1 << 24  # bytes of a saved log
_LINES = 3  # that are quoted


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What the kernel says of itself."""

    flags: str = ""  # letters of the flags that count
    reasons: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()  # of the log; untrusted
    problem: str = ""  # why the log could not be read

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to be said."""
        return not self.flags and not self.lines

    @property
    def sentence(self) -> str:
        """What is wrong."""
        reasons = " and ".join(self.reasons) or "its log has errors"
        where = f" (taint flags {self.flags})" if self.flags else ""
        quoted = "".join(f"; '{line}'" for line in self.lines)
        return f"the kernel is not in order: {reasons}{where}{quoted}"


def read_health(root: str = "/") -> Health:
    """Read the taint flags and the log; never raises, and never waits."""
    flags, reasons = [], []
    taint = _taint(os.path.join(root, _TAINTED))
    for bit, (letter, reason) in _FLAGS.items():
        if taint >> bit & 1:
            flags.append(letter)
            reasons.append(reason)
    lines, problem = _log(os.path.join(root, _LOG))
    found = [text for text in lines if _TROUBLE.search(text)]
    return Health(flags="".join(flags), reasons=tuple(reasons), lines=tuple(found[:_LINES]), problem=problem)


def _taint(path: str) -> int:
    text = sysfs.text(path).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _log(path: str) -> tuple[list[str], str]:
    """Return the kernel's own messages: PRIORITY,SEQUENCE,TIME,FLAGS;TEXT (Documentation/ABI/testing/dev-kmsg)."""
    try:
        content = b"".join(_records(path)).decode(errors="replace")
    except OSError as error:
        return [], f"{path} cannot be read: {error.strerror}"
    lines = []
    for line in content.splitlines():
        head, semicolon, text = line.partition(";")
        priority = head.partition(",")[0]
        # what a process wrote there has another facility than the kernel's, 0
        if semicolon and priority.isdecimal() and int(priority) < 8:
            lines.append(text)
    return lines, ""


def _records(path: str) -> list[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
            return [os.read(descriptor, _LARGEST)]
        records: list[bytes] = []
        while len(records) < _MOST_RECORDS:
            try:
                record = os.read(descriptor, _RECORD)
            except BlockingIOError:  # no more for now
                break
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten meanwhile; the next read goes on behind it
                    continue
                raise
            if not record:
                break
            records.append(record)
        return records
    finally:
        os.close(descriptor)
