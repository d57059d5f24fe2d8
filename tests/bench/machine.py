# SPDX-License-Identifier: GPL-2.0-or-later
"""What the numbers were measured on, and how busy it was."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_CALM_LOOKS = 3  # in a row


def describe() -> dict[str, object]:
    """Return processors, kernel, libc and Python, as docs/benchmarks.md names them."""
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": model[0].split(":", 1)[1].strip() if model else platform.machine(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "root": os.geteuid() == 0,
    }


def wait_until_quiet(seconds: float, *, running: int = 1) -> bool:
    """Wait until no more than so many threads (this one included) want a processor; says whether that came.

    What others do meanwhile is not in our hand, but a measurement need not begin in the middle of it.
    """
    deadline = time.monotonic() + seconds
    calm = 0
    while calm < _CALM_LOOKS:
        time.sleep(0.005)
        counts = Path("/proc/stat").read_text()
        now = int(counts.partition("procs_running ")[2].split(None, 1)[0])
        calm = calm + 1 if now <= running else 0
        if time.monotonic() > deadline:
            return False
    return True


def load() -> list[float]:
    """Return the load averages of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]
