# SPDX-License-Identifier: GPL-2.0-or-later
"""What several files of tests here start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import downgrades
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="module")
def downgradable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A system whose repository has five versions of a live patch package for the kernel and of one for a library."""
    with downgrades.downgradable(tmp_path_factory.mktemp("module")) as made:
        yield made


@pytest.fixture
def fresh(downgradable: Sandbox) -> Iterator[Sandbox]:
    """The same with version 4 of both, and afterwards without what a test has set up."""
    with downgrades.fresh(downgradable) as made:
        yield made
