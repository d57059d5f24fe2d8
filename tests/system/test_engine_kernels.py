# SPDX-License-Identifier: GPL-2.0-or-later
"""The direct engine on other kernels than this machine's: tests of the engine, run in emulated machines.

Kernels differ in what the engine lives on: flags of memory files (6.3), who may write through /proc/PID/mem (6.12,
and how a distribution has configured it), register sets, the restart of system calls.
"""

from __future__ import annotations

import pytest

from tests.support.machine import engine, generations, kernels
from tests.support.machine.machine import Saved

FEW = {"ROUNDS": 1}  # every instruction is emulated
CASES = (
    engine.case("threads:test_many_threads", sleepers=16),
    engine.case("threads:test_main_thread_has_exited"),
    engine.case("transparency:test_no_wait_ends_early_or_in_eintr", settings=FEW),
    engine.case("transparency:test_queued_signals_all_arrive_once_and_in_order", settings=FEW),
    engine.case("transparency:test_vector_registers_survive", settings=FEW),
    engine.case("seccomp:test_filter_that_forbids_or_kills", condition="seccomp-memfd-kill"),
)


EXTREMES = (kernels.GENERATIONS[0], kernels.GENERATIONS[-1])


@pytest.fixture(scope="module", params=EXTREMES, ids=lambda generation: generation.name)
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The oldest and the newest kernel."""
    return generations.booted(request.param, tmp_path_factory)


def test_the_engine(booted: Saved) -> None:
    with booted.running() as machine:
        assert engine.run(machine, CASES) == ""
        machine.end()
