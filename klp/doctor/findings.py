# SPDX-License-Identifier: GPL-2.0-or-later
"""What an examination of live patching finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mood(enum.StrEnum):
    """What a finding means for who reads it."""

    OK = "ok"
    NOTE = "note"  # works as it is; the steps are a matter of taste
    PROBLEM = "problem"  # fixes are missing, or will be
    UNKNOWN = "unknown"  # could not be looked at


class Topic(enum.StrEnum):
    """What a finding is about."""

    KERNEL = "kernel"  # whether live patches are made for it, and can be loaded
    LIVE_PATCH = "live-patch"  # whether one is in effect
    PACKAGE = "package"  # whether it is the newest, and maintained
    INITRD = "initrd"  # whether it is there again after a crash
    REBOOT = "reboot"  # whether one is needed
    SUBSCRIPTION = "subscription"  # module and pattern
    LOCK = "lock"  # of the kernel's package
    LIFECYCLE = "lifecycle"  # data that say until when

    def ok(self, sentence: str) -> Finding:
        """Return a finding about it: it is in order."""
        return Finding(topic=self, mood=Mood.OK, sentence=sentence)

    def note(self, sentence: str, *, steps: tuple[str, ...] = ()) -> Finding:
        """Return a finding about it: it works as it is."""
        return Finding(topic=self, mood=Mood.NOTE, sentence=sentence, steps=steps)

    def problem(self, sentence: str, *, steps: tuple[str, ...]) -> Finding:
        """Return a finding about it: fixes are missing, or will be."""
        return Finding(topic=self, mood=Mood.PROBLEM, sentence=sentence, steps=steps)

    def unknown(self, sentence: str, *, steps: tuple[str, ...] = ()) -> Finding:
        """Return a finding about it: it could not be looked at."""
        return Finding(topic=self, mood=Mood.UNKNOWN, sentence=sentence, steps=steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found; texts may hold what is untrusted."""

    topic: Topic
    mood: Mood
    sentence: str
    steps: tuple[str, ...] = ()  # what to do next: commands, in this order
