# SPDX-License-Identifier: GPL-2.0-or-later
"""Control groups, as systemd makes them for its units."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def unit(name: str) -> Iterator[Path]:
    """Make a control group as if it were a unit's; processes get into it by their pid in its cgroup.procs.

    Skips the test where no control group can be made. All that is in it has to have ended at the end.
    """
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(words[1]) for words in mounts if words[2] == "cgroup2" or "name=systemd" in words[3]]
    group = next((place / name for place in places), None)
    try:
        assert group is not None, "there are no control groups"
        group.mkdir()
    except (AssertionError, OSError) as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        yield group
    finally:
        for process in (group / "cgroup.procs").read_text().split():  # back to where all others are
            (group.parent / "cgroup.procs").write_text(process)
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:  # one of them is just ending
                time.sleep(0.05)
