# SPDX-License-Identifier: GPL-2.0-or-later
"""Any sequence of changes leaves a process as a simple model says: a stack of live patches over ten functions."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.livepatches import live_patch
from tests.support.targets import answers_library, caller, running
from ulp.container import read
from ulp.engines import Change, Settings
from ulp.fleet import change

FUNCTIONS = {
    "low": range(5),
    "middle": range(3, 8),
    "high": range(6, 10),
    "all": range(10),
    "one": range(4, 5),
}
NAMES = st.sampled_from(sorted(FUNCTIONS))


def _container(name: str) -> Path:
    base = 200 + 100 * sorted(FUNCTIONS).index(name)
    source = "".join(f"long new_{n}(void) {{ return {base} + {n}; }}\n" for n in FUNCTIONS[name])
    return live_patch(
        answers_library(), source, {f"answer_{n}": f"new_{n}" for n in FUNCTIONS[name]}, name=f"{name}.so"
    )


class History(RuleBasedStateMachine):
    """Changes of one process beside a list of what should be active, newest last."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.target = self.stack.enter_context(running(caller(answers_library()), "nap=200", "sleepers=2"))
        self.containers = {name: read(_container(name)) for name in FUNCTIONS}
        self.active: list[str] = []

    def teardown(self) -> None:
        self.stack.close()

    def make(self, wanted: Change) -> str:
        """Change the process and return the reason word."""
        (result,) = change([wanted], settings=Settings(timeout=10), pids=[self.target.pid]).results
        return result.reason.value

    @rule(name=NAMES)
    def apply(self, name: str) -> None:
        reason = self.make(Change(apply=self.containers[name]))
        assert reason == ("already-applied" if name in self.active else "applied")
        if name not in self.active:
            self.active.append(name)

    @rule(name=NAMES)
    def revert(self, name: str) -> None:
        reason = self.make(Change(revert=(self.containers[name].patch_id,)))
        if name not in self.active:
            assert reason == "not-applied"
            return
        later = self.active[self.active.index(name) + 1 :]
        if any(set(FUNCTIONS[name]) & set(FUNCTIONS[other]) for other in later):
            assert reason == "out-of-order"
        else:
            assert reason == "reverted"
            self.active.remove(name)

    @rule()
    def revert_all(self) -> None:
        reason = self.make(Change(revert_library="libanswers.so.0"))
        assert reason == ("reverted" if self.active else "not-applied")
        self.active = []

    @rule(name=NAMES)
    def replace(self, name: str) -> None:
        reason = self.make(Change(apply=self.containers[name], revert_target=True))
        if self.active == [name]:
            assert reason == "already-applied"
        else:
            assert reason == ("replaced" if self.active else "applied")
        self.active = [name]

    @precondition(lambda self: len(self.active) > 1)
    @rule()
    def revert_two_at_once(self) -> None:
        last = self.active[-2:]
        reason = self.make(Change(revert=tuple(self.containers[name].patch_id for name in last)))
        assert reason == "reverted"
        self.active = self.active[:-2]

    @invariant()
    def answers_are_those_of_the_newest(self) -> None:
        expected = list(range(100, 110))
        for name in self.active:
            for n in FUNCTIONS[name]:
                expected[n] = 200 + 100 * sorted(FUNCTIONS).index(name) + n
        assert self.target.answers(10) == tuple(expected)
        assert self.target.tracer() == 0


def test_any_sequence_of_changes() -> None:
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
