# SPDX-License-Identifier: GPL-2.0-or-later
"""Strikes against the tool while it works on a busy target, and what has to hold after each of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.livepatches import NEW, OLD, Way, ten_functions
from tests.support.targets import FIRST_WAIT, Slot, Target, program, running
from ulp.container import read

KILLS = int(os.environ.get("ULP_TEST_KILLS", "500"))  # in all; 500 is what the project promises
SEED = int(os.environ.get("ULP_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
HITS = 50  # with one target
ROOT = Path(__file__).parents[2]
WAYS = 22


class Striker:
    """The process that runs and kills (tests/support/striker.py)."""

    def __init__(self, process: subprocess.Popen[str], pid: int, container: Path) -> None:
        self.process = process
        self.pid = pid
        self.container = str(container)

    def __call__(
        self, do: str, *, kill: str | None = None, after: float = 0.0, die_at: Sequence[object] | None = None
    ) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        wanted = {
            "do": do,
            "pid": self.pid,
            "container": self.container,
            "kill": kill,
            "after": after,
            "die_at": die_at,
        }
        self.process.stdin.write(json.dumps(wanted) + "\n")
        line = self.process.stdout.readline()
        assert line, f"the striker ended while it did {wanted}"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


@contextmanager
def striking(target: Target, container: Path) -> Iterator[Striker]:
    """Start the striker for one target."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.striker", Way.engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    ) as process:
        try:
            yield Striker(process, target.pid, container)
        finally:
            process.kill()


def masks(target: Target) -> dict[int, int]:
    """The masks of blocked signals without those that a handler and sigtimedwait(2) block for a moment."""
    momentary = 1 << signal.SIGALRM - 1 | 1 << signal.SIGUSR2 - 1
    return {thread: int(mask, 16) & ~momentary for thread, mask in target.masks().items()}


def interrupted(target: Target) -> int:
    """How many waits ended in EINTR."""
    return sum(target[FIRST_WAIT + 2 * way + 1] for way in range(WAYS)) + target[Slot.INTERRUPTED]


def assert_unharmed(target: Target, before: dict[int, int]) -> None:
    """Alive, nobody stopped or traced, its own checks clean, the masks as they were."""
    assert target.is_alive, f"the target died: {target.process.returncode}"
    target.until(lambda: not set(target.threads().values()) & {"t", "T"}, "all threads to run")
    assert target.tracer() == 0
    assert target[Slot.ERRORS] == 0, [target[Slot.DETAIL + word] for word in range(3)]
    target.until(
        lambda: masks(target) == before, f"masks as before: {before}, now {masks(target)}", patience=1
    )


class Course:
    """A target, a striker, and what is asserted after each strike."""

    def __init__(self, target: Target, strike: Striker, do: str, *, chance: random.Random) -> None:
        target.settle()
        self.target, self.strike, self.do, self.chance = target, strike, do, chance
        self.restore = "revert" if do == "apply" else "apply"
        self.before, self.after = (OLD, NEW) if do == "apply" else (NEW, OLD)
        self.masks = masks(target)
        self.original = Path(strike.container)
        spans: dict[str, list[float]] = {"apply": [], "revert": []}
        for _ in range(4):
            self.renew()
            for each, seconds in spans.items():
                seconds.append(self._unharmed(each))
        self.span = sorted(spans[do])[2]  # seconds that one change takes
        if do == "revert":
            self._unharmed("apply")

    def _unharmed(self, do: str) -> float:
        said = self.strike(do)
        assert said["result"][0][0] == "SUCCESS", said
        return float(said["seconds"])

    def renew(self) -> None:
        """Go on with a container that the target has never seen, so that it has to be mapped."""
        data = self.original.read_bytes()
        copy = self.original.with_name(f"{self.chance.getrandbits(64):x}.so")
        copy.write_bytes(data.replace(read(self.original).patch_id, self.chance.randbytes(32)))
        self.strike.container = str(copy)

    def hit(self, counts: Counter[str], **words: Any) -> bool:
        """Strike; then the next command has to find the target unharmed and leave it whole. Says if it died."""
        if self.do == "apply":
            self.renew()
        said = self.strike(self.do, **words)
        died = bool(said["killed"] or (said["result"] and said["result"][0][1] == "killed"))
        assert_unharmed(self.target, self.masks)
        counts["killed"] += died
        counts["found half changed"] += self.target.answers(10) not in (OLD, NEW)
        follow = self.chance.choice(["list", self.do, self.restore])
        next_ = self.strike(follow)
        answers = self.target.answers(10)
        assert answers in (OLD, NEW), f"half changed after {words} and {follow}: {answers}"
        if follow == "list":
            assert bool(next_["result"]) == (answers == NEW), (words, next_, answers)
        else:
            assert answers == (self.after if follow == self.do else self.before), (words, next_, answers)
            assert next_["result"][0][0] in ("SUCCESS", "SKIPPED"), (words, next_)
        counts["changed"] += answers == self.after
        if answers == self.after:
            self._unharmed(self.restore)
        assert_unharmed(self.target, self.masks)
        counts["hits"] += 1
        return died


@contextmanager
def course(do: str, *, chance: random.Random, counts: Counter[str]) -> Iterator[Course]:
    """Start a target and a striker; reverted live patches stay mapped, so neither is for more than dozens of hits."""
    with running(program("busy"), "nap=1500") as target, striking(target, ten_functions(200)) as strike:
        yield Course(target, strike, do, chance=chance)
        counts["EINTR"] += interrupted(target)
