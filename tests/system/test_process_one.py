# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 is patched only when the configuration says so: a program that is process 1 of a namespace of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.livepatches import NEW, OLD, SUCCESS, Said, ten_functions, trigger, ulp
from tests.support.targets import Target, answers_library, caller, running

# /run of the target's own mount namespace takes the configuration, nothing of the machine's is touched
_PRIVATE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def _inside(target: Target) -> tuple[str, ...]:
    return ("nsenter", "--target", str(target.pid), "--mount", "--pid")


def _configure(target: Target, text: str) -> None:
    subprocess.run(
        [*_inside(target), "sh", "-c", "mount -t tmpfs run /run && cat >/run/zypp-livepatch.conf"],
        input=text,
        text=True,
        check=True,
    )


def _everything(target: Target) -> Said:
    return ulp("trigger", "--json", ten_functions(200), prefix=_inside(target))


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_process_one() -> None:
    with running(caller(answers_library()), wrapper=_PRIVATE, inner=True) as target:
        assert _everything(target).rows == []
        assert trigger(1, ten_functions(200), prefix=_inside(target)).verdict == ("SKIPPED", "process-one")
        assert target.answers(10) == OLD
        _configure(target, "[patch]\nprocess-one = yes\n")
        assert _everything(target).verdict == SUCCESS
        assert target.answers(10) == NEW
        assert trigger(1, "--revert", ten_functions(200), prefix=_inside(target)).row["outcome"] == "SUCCESS"
        assert target.answers(10) == OLD


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_a_wrong_configuration_changes_nothing() -> None:
    with running(caller(answers_library()), wrapper=_PRIVATE, inner=True) as target:
        _configure(target, "[patch]\nprocess-one = perhaps\n")
        said = _everything(target)
        assert said.status == 78
        assert "process-one is 'perhaps'" in said.stderr
        assert target.answers(10) == OLD
