# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL in place of each call by which the tool touches a target, one after the other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.support.strikes import HITS, KILLS, SEED, course


@pytest.mark.parametrize("kind", ["write", "ptrace"])
@pytest.mark.parametrize("do", ["apply", "revert"])
def test_killed_in_place_of_each_call_that_touches_the_target(do: str, kind: str) -> None:
    """Each write and each ptrace call in turn: in between nothing changes the target."""
    chance = random.Random(f"{SEED} {do} {kind}")
    counts: Counter[str] = Counter()
    number, died = 1, True
    step = max(1, 500 // KILLS // (2 if kind == "write" else 1))  # of which there are fewer
    while died:
        with course(do, chance=chance, counts=counts) as one:
            for _ in range(HITS):
                died = one.hit(counts, die_at=[kind, number])
                if not died:
                    break
                number += chance.randint(1, 2 * step - 1)
    print(f"{number - 1} calls of {kind}, {dict(counts)}")
    assert counts["killed"] >= 5  # of twenty writes every other one
