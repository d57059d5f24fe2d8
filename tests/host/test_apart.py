# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from host.apart import NoAnswerError, call
from host.errors import BadDataError


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_the_answer_comes_from_another_process() -> None:
    pid, words = call(lambda: (os.getpid(), ["word"] * 100_000), patience=60.0)
    assert pid != os.getpid()
    assert len(words) == 100_000
    assert children() == []


def test_what_is_raised_there_is_raised_here() -> None:
    def fail() -> None:
        raise BadDataError("it is wrong", hint="correct it")

    with pytest.raises(BadDataError) as caught:
        call(fail, patience=60.0)
    assert (caught.value.sentence, caught.value.hint) == ("it is wrong", "correct it")
    with pytest.raises(KeyboardInterrupt):
        call(lambda: signal.raise_signal(signal.SIGINT), patience=60.0)


def test_what_hangs_is_given_up_and_ended() -> None:
    start = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"within 0\.2 s"):
        call(lambda: time.sleep(600), patience=0.2)
    assert time.monotonic() - start < 60
    assert children() == []


def test_a_crash_is_not_ours() -> None:
    with pytest.raises(NoAnswerError, match="crashed"):
        call(lambda: os.kill(os.getpid(), signal.SIGKILL), patience=60.0)
    assert children() == []


def test_what_this_process_has_set_up_runs_once(capfd: pytest.CaptureFixture[str]) -> None:
    print("begun", end="")  # is in the buffer when the child is made
    call(lambda: None, patience=60.0)
    print(", ended", flush=True)
    assert capfd.readouterr().out == "begun, ended\n"


def test_an_answer_that_cannot_be_sent_is_a_problem() -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):
        call(lambda: lambda: None, patience=60.0)
