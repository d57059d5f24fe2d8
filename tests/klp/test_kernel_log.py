# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's log, as far as it is about transitions; tests/system/test_klp_kernel.py reads a real one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from klp.kernel_log import LOG, transition_seconds

LINE = "6,{0},{0}000000,-;livepatch: '{1}': {2}\n"


def took(content: bytes) -> float | None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, LOG)
        path.parent.mkdir()
        path.write_bytes(content)
        return transition_seconds("lp", root=name)


def log(*events: tuple[int, str, str]) -> bytes:
    return "".join(LINE.format(*event) for event in events).encode()


def test_the_last_transition_counts() -> None:
    first = ((1, "lp", "starting patching transition"), (3, "lp", "patching complete"))
    assert took(log(*first)) == 2
    assert took(log(*first, (5, "lp", "starting unpatching transition"))) is None
    last = ((5, "lp", "starting unpatching transition"), (9, "lp", "unpatching complete"))
    assert took(log(*first, *last, (10, "other", "patching complete"))) == 4


def test_a_log_that_does_not_know(tmp_path: Path) -> None:
    assert took(log((3, "lp", "patching complete"))) is None  # its beginning was overwritten
    assert transition_seconds("lp", root=str(tmp_path)) is None
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / LOG)  # nobody writes
    assert transition_seconds("lp", root=str(tmp_path)) is None


@given(st.binary(max_size=200))
def test_any_log_is_read(content: bytes) -> None:
    assert took(b"6,1,1,-;livepatch: 'lp': " + content) is None
    assert took(content) is None


def test_what_a_process_wrote_does_not_count() -> None:
    assert (
        took(
            log((1, "lp", "starting patching transition"), (3, "lp", "patching complete")).replace(
                b"6,", b"14,"
            )
        )
        is None
    )
