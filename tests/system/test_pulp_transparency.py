# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for the direct engine holds for processes that are patched through their libpulp: its tests once more."""

from __future__ import annotations

import pytest

from tests.support.containers import PADS
from tests.support.libpulp import PEER, stand_in
from tests.support.livepatches import Way
from tests.support.targets import Preload
from tests.system import test_engine_transparency
from tests.system.test_engine_threads import (  # noqa: F401
    test_a_forked_child_is_a_process_of_its_own,
    test_children_inherit_the_live_patch,
    test_coroutines,
    test_frozen_process_stays_frozen,
    test_main_thread_creates_threads_all_the_time,
    test_main_thread_has_exited,
    test_many_threads,
    test_parent_of_a_vfork_whose_child_sleeps_before_it_executes,
    test_stop_signals_in_between_are_not_lost,
    test_stopped_process_stays_stopped,
    test_threads_and_children_come_and_go_all_the_time,
)
from tests.system.test_engine_transparency import (  # noqa: F401
    test_a_signal_still_ends_a_wait,
    test_handler_on_an_alternate_stack_calls_the_new_function,
    test_no_wait_ends_early_or_in_eintr,
    test_nothing_is_left_behind_in_descriptors_or_signals,
    test_queued_signals_all_arrive_once_and_in_order,
    test_registers_flags_and_red_zone_survive,
    test_threads_that_wake_each_other,
    test_timer_signals_keep_pace,
    test_vector_registers_survive,
)
from ulp.engines import EngineName


@pytest.fixture(autouse=True)
def _through_libpulp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preload, "library", PEER.library if PEER else stand_in())
    monkeypatch.setattr(Preload, "flags", (PADS, "-Wl,--hash-style=sysv,--build-id=sha1"))
    monkeypatch.setattr(Way, "engine", EngineName.PULP)
    # each takes longer than with the direct engine
    monkeypatch.setattr(test_engine_transparency, "ROUNDS", 20)
