# SPDX-License-Identifier: GPL-2.0-or-later
"""Finishes what a killed tool has left in a process, for those who only wanted to look at it."""

from __future__ import annotations

from ulp.engines import EngineName

_PATIENCE = 10.0  # seconds, for another tool that is at work and for calls under way


def finish(pid: int, engine: EngineName) -> str:
    """Finish an interrupted change, in a child as every change; returns why that was impossible, or nothing."""
    from ulp import surgeon  # rarely needed, and with the engines behind it slow to import
    from ulp.engines.choice import Engines
    from ulp.result import Refusal, defect

    def work(pid: int) -> str:
        try:
            Engines(cancelled=surgeon.abandoned).recover(pid, engine, timeout=_PATIENCE)
        except Refusal as refusal:
            return str(refusal)
        except Exception as error:  # a defect met in one process must not keep the others from being listed
            return defect(error)
        return ""

    try:
        problem = next((answer for _, answer in surgeon.operate([pid], work)), "")
    except surgeon.SurgeonDied:
        problem = "a helper process of ulp was killed"
    return f"an interrupted change could not be finished: {problem}" if problem else ""
