# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel has warned or crashed since it booted: then nobody knows what a change of live patches meets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from klp import sysfs
from klp.kernel_log import LOG, read_log

_TAINTED = "proc/sys/kernel/tainted"
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
    problem = ""
    found: list[str] = []
    try:
        found = [message.text for message in read_log(root) if _TROUBLE.search(message.text)]
    except OSError as error:
        problem = f"{os.path.join(root, LOG)} cannot be read: {error.strerror}"
    return Health(flags="".join(flags), reasons=tuple(reasons), lines=tuple(found[:_LINES]), problem=problem)


def _taint(path: str) -> int:
    text = sysfs.text(path).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
