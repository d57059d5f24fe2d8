# SPDX-License-Identifier: GPL-2.0-or-later
"""How long transitions took, from the kernel's own log: nothing else in the system keeps that.

A record of /dev/kmsg is ``PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`` (Documentation/ABI/testing/dev-kmsg). Of a
transition the log has ``livepatch: 'NAME': starting patching transition`` and ``livepatch: 'NAME': patching complete``
(kernel/livepatch/transition.c), with "unpatching" where a live patch is taken back.
"""

from __future__ import annotations

import os
import re

KERNEL_LOG = "dev/kmsg"

_LARGEST = 1 << 14  # bytes of a record, more than the kernel makes
_MOST = 1 << 18  # records
_RECORD = re.compile(
    r"\d+,\d+,(\d+),[^;]*;livepatch: '(.+)': (?:(starting) (?:un)?patching transition|(?:un)?patching complete)"
)


def transition_seconds(patch: str, *, root: str = "/") -> float | None:
    """Return how long the last transition of a live patch took; None if the log, or this user, does not know."""
    began: int | None = None
    took: float | None = None
    try:
        log = os.open(os.path.join(root, KERNEL_LOG), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        for _ in range(_MOST):
            try:
                text = os.read(log, _LARGEST)
            except BrokenPipeError:  # what was to be read next has been overwritten: go on with the oldest
                continue
            if not text:
                break
            for moment, name, starting in _RECORD.findall(text.decode(errors="replace")):
                if name != patch:
                    continue
                if starting:
                    began, took = int(moment), None
                elif began is not None:
                    took = (int(moment) - began) / 1e6
    except OSError:  # BlockingIOError: the end
        pass
    finally:
        os.close(log)
    return took
