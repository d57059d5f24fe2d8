# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that want a kernel which cannot be had are skipped, and the end of the run says so loudly."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NoReturn

import pytest

from tests.support.machine.apt import Unavailable
from tests.support.machine.kernels import Generation

_WORDS = "no real kernel of"


def skip(generation: Generation, reason: Unavailable) -> NoReturn:
    """Skip a test that wanted a kernel."""
    pytest.skip(f"{_WORDS} {generation.name}: {reason}")


def not_run(reports: Iterable[object]) -> list[str]:
    """Return the lines that say how many of the skipped tests wanted a kernel, and why there is none."""
    reasons = [getattr(report, "longrepr", None) for report in reports]
    texts = [reason[2].removeprefix("Skipped: ") for reason in reasons if isinstance(reason, tuple)]
    counted = collections.Counter(text for text in texts if text.startswith(_WORDS))
    return [f"{text}: {count} kernel tests did NOT run" for text, count in counted.items()]
