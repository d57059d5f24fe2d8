# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that preload libpulp are patched through it, and libpulp's own tool agrees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import libpulp
from tests.support.libpulp import needs_libpulp, padded_library, preloaded
from tests.support.livepatches import REVERTED, SUCCESS, ten_functions, trigger
from tests.support.targets import caller

pytestmark = needs_libpulp

NAME = f"libpulpengine{os.getpid()}.so.0"
BEFORE = tuple(range(100, 110))


@pytest.fixture
def library() -> Path:
    return padded_library(name=NAME)


@pytest.mark.parametrize("flags", [(), ("-DTHREADS=7",)])
def test_apply_and_revert(library: Path, flags: tuple[str, ...]) -> None:
    first = ten_functions(500, library=library)
    second = ten_functions(700, library=library)
    with preloaded(caller(library, *flags)) as process:
        said = trigger(process, first)
        assert (said.row["outcome"], said.row["reason"]) == SUCCESS, said
        assert said.row["engine"] == "pulp"
        assert process.answers(10) == tuple(range(500, 510))
        said = trigger(process, second)
        assert (said.row["outcome"], said.row["reason"]) == SUCCESS, said
        assert process.answers(10) == tuple(range(700, 710))
        libpulp.revert(process, second)
        assert process.answers(10) == tuple(range(500, 510))
        said = trigger(process, "--revert", first)
        assert (said.row["outcome"], said.row["reason"]) == REVERTED, said
        assert process.answers(10) == BEFORE
        print(said)
