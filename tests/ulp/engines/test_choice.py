# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has disabled live patching through libpulp is obeyed by the direct engine, too: it would not need libpulp."""

from __future__ import annotations

import json

import pytest

from tests.support.livepatches import NEW, OLD, ten_functions, ulp
from tests.support.pretender import pretended
from tests.support.targets import Target, answers_library, caller, running


def result(target: Target, *words: object, status: int) -> tuple[str, str]:
    said = ulp("trigger", "--json", "-p", str(target.pid), *map(str, words))
    assert said.status == status, said
    [row] = json.loads(said.stdout)["results"]
    return row["outcome"], row["reason"]


def switch(target: Target, word: str) -> None:
    assert ulp("set_patchable", "-p", str(target.pid), word).status == 0


@pytest.mark.parametrize("engine", ["auto", "direct"])
def test_a_process_that_wants_no_live_patches_gets_none(engine: str) -> None:
    """It is switched off before there is one, and afterwards: what it holds stays."""
    container = ten_functions(200)
    words = (f"--engine={engine}", container)
    environment = {"LD_PRELOAD": str(pretended())}
    with running(caller(answers_library()), environment=environment) as target:
        switch(target, "disable")
        assert result(target, "--engine=direct", container, status=1) == ("SKIPPED", "disabled")
        assert result(target, "--dry-run", "--engine=direct", container, status=1) == ("SKIPPED", "disabled")
        assert target.answers(10) == OLD
        switch(target, "enable")
        assert result(target, "--engine=direct", container, status=0) == ("SUCCESS", "applied")
        switch(target, "disable")
        assert result(target, "--revert", *words, status=1) == ("SKIPPED", "disabled")
        assert target.answers(10) == NEW
        switch(target, "enable")
        assert result(target, "--revert", *words, status=0) == ("SUCCESS", "reverted")
        assert target.answers(10) == OLD
