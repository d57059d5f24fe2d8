# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL of the tool while it patches through libpulp: the direct engine's tests once more."""

from __future__ import annotations

import pytest

from tests.support.containers import PADS
from tests.support.libpulp import PEER, stand_in
from tests.support.livepatches import Way
from tests.support.strikes import KILLS
from tests.support.targets import Preload
from tests.system import test_engine_kill, test_engine_kill_each
from tests.system.test_engine_kill import test_killed_at_any_instant, test_the_command_itself_killed  # noqa: F401
from tests.system.test_engine_kill_each import test_killed_in_place_of_each_call_that_touches_the_target  # noqa: F401
from ulp.engines import EngineName


@pytest.fixture(autouse=True)
def _through_libpulp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preload, "library", PEER.library if PEER else stand_in())
    monkeypatch.setattr(Preload, "flags", (PADS, "-Wl,--hash-style=sysv,--build-id=sha1"))
    monkeypatch.setattr(Way, "engine", EngineName.PULP)
    for module in (
        test_engine_kill,
        test_engine_kill_each,
    ):  # what differs from the direct engine is a part of it
        monkeypatch.setattr(module, "KILLS", max(1, KILLS // 5))
