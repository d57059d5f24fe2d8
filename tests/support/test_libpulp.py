# SPDX-License-Identifier: GPL-2.0-or-later
"""libpulp as a peer of the tests: found where it is, loudly missed where it is not, and really at work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.libpulp import (
    MISSING,
    SUITE_MISSING,
    SUITE_VARIABLE,
    VARIABLE,
    apply,
    find,
    find_suite,
    libpulp,
    needs_libpulp,
    padded_library,
    peer,
    preloaded,
    revert,
)
from tests.support.livepatches import NEW, OLD, ULP, ten_functions
from tests.support.targets import caller

ROOT = Path(__file__).parents[2]
NAME = f"libpeer{os.getpid()}.so.0"


def test_a_directory_that_does_not_hold_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*/ulp"):
        find({VARIABLE: str(tmp_path)})
    (tmp_path / "ulp").symlink_to(ULP)
    (tmp_path / "libpulp.so.0").touch()
    with pytest.raises(FileNotFoundError, match=r"is no ulp of libpulp 0\.3\.17"):
        find({VARIABLE: str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"there is no .*/config\.status"):
        find_suite({SUITE_VARIABLE: str(tmp_path)})


def test_our_own_ulp_is_not_taken_for_it() -> None:
    found = find({"PATH": str(ULP.parent)})
    assert found is None
    assert find({VARIABLE: "none"}) is None


@pytest.mark.parametrize(
    ("test", "missing", "variable"),
    [
        (f"{__file__}::test_it_patches_and_takes_back", MISSING, VARIABLE),
        (str(ROOT / "tests/system/test_libpulp_suite.py"), SUITE_MISSING, SUITE_VARIABLE),
    ],
)
def test_a_run_without_it_ends_with_a_loud_line(test: str, missing: str, variable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test, test],
        cwd=ROOT,
        env={**os.environ, variable: "none"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        rf"^{missing}: [1-9]\d* interoperation tests? did NOT run; set {variable} ", done.stdout, re.M
    )


@needs_libpulp
def test_it_is_found_by_the_variable_and_by_the_path() -> None:
    assert find({VARIABLE: str(peer().tool.parent)}) is not None
    assert libpulp("--version").stdout == "libpulp 0.3.17\n"


@needs_libpulp
def test_it_patches_and_takes_back() -> None:
    library = padded_library(name=NAME)
    container = ten_functions(200, library=library)
    with preloaded(caller(library)) as target:
        assert target.answers(10) == OLD
        apply(target, container)
        assert target.answers(10) == NEW
        revert(target, container)
        assert target.answers(10) == OLD
