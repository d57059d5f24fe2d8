# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers of very different sizes for one library, in a process."""

from __future__ import annotations

from pathlib import Path

from tests.support.containers import build_container, build_library
from tests.support.images import loading
from ulp.container import read
from ulp.engines import Change, Settings
from ulp.fleet import change
from ulp.result import Reason

COUNT = 600


def test_a_small_container_replaces_a_large_one(tmp_path: Path) -> None:
    """All that changes in one stop is in the journal of the small one's record."""
    names = [f"a_function_with_a_long_name_{number}" for number in range(COUNT)]
    library = build_library(
        tmp_path, "".join(f"int {name}(void) {{ return 1; }}\n" for name in names), pads=True
    )
    source = "".join(f"int new_{name}(void) {{ return 2; }}\n" for name in names)
    large = read(
        build_container(
            tmp_path,
            source,
            target=library,
            functions={name: f"new_{name}" for name in names},
            name="large.so",
        )
    )
    small = read(
        build_container(
            tmp_path,
            "int new(void) { return 3; }",
            target=library,
            functions={names[0]: "new"},
            name="small.so",
        )
    )
    with loading(library) as pid:
        for wanted, reason in (
            (Change(apply=large), Reason.APPLIED),
            (Change(apply=small, revert_target=True), Reason.REPLACED),
            (Change(apply=large), Reason.APPLIED),
            (Change(revert_library=library.name), Reason.REVERTED),
        ):
            (result,) = change([wanted], settings=Settings(), pids=[pid]).results
            assert result.reason is reason, result.sentence
