# SPDX-License-Identifier: GPL-2.0-or-later
"""One answer for kernel and user space: whether the machine is covered, until when, and what is to be done.

Made of findings, each with a standing; the worst one is the answer. What nobody could find out is worse than being
covered, and better than what is known to be wrong.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from host.errors import ExitStatus


class Standing(enum.StrEnum):
    """How something stands."""

    COVERED = "covered"
    UNKNOWN = "unknown"
    TODO = "something-to-do"
    NOT_COVERED = "not-covered"


# worst last; what the command ends with (docs/exit-status.md)
_STATUS = {
    Standing.COVERED: ExitStatus.OK,
    Standing.UNKNOWN: ExitStatus.PARTLY,
    Standing.TODO: ExitStatus.FAILED,
    Standing.NOT_COVERED: ExitStatus.NOTHING_MATCHED,
}
_ORDER = tuple(_STATUS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found out."""

    part: str  # "processes", "kernel", "later", "support", "updates", "exemptions", "reboot"
    standing: Standing
    sentence: str
    action: str = ""  # what to do, usually a command


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """Until when a live patch package is maintained."""

    package: str
    evr: str
    until: datetime.date | None  # the first day without support; None: nobody says
    update: str = ""  # EVR of an available update


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """How many processes stand how."""

    covered: int = 0
    patchable: int = 0
    stuck: int = 0
    unseen: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """All of it."""

    cve: str
    findings: tuple[Finding, ...]
    processes: Processes
    restarts: tuple[str, ...]  # "name (pid)": what has to be restarted to be covered
    reboot: bool  # whether a reboot is needed
    kernel: tuple[tuple[str, str], ...]  # live patches of the kernel and how each stands
    supports: tuple[Support, ...]
    watcher: bool  # whether processes that start later are patched

    @property
    def standing(self) -> Standing:
        """The answer."""
        standings = [finding.standing for finding in self.findings] or [Standing.UNKNOWN]
        return max(standings, key=_ORDER.index)

    @property
    def status(self) -> ExitStatus:
        """The answer as an exit status."""
        return _STATUS[self.standing]

    @property
    def until(self) -> datetime.date | None:
        """The first day on which one of the live patch packages is not maintained any more, if that is known."""
        return min((each.until for each in self.supports if each.until), default=None)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        worst = [each for each in self.findings if each.standing is self.standing]
        what = f" against {self.cve}" if self.cve else ""
        if self.standing is Standing.COVERED:
            until = f", by live patches that are maintained until {self.until}" if self.until else ""
            return f"covered{what}{until}"
        word = {
            Standing.UNKNOWN: f"not known whether covered{what}",
            Standing.TODO: "something is to be done",
            Standing.NOT_COVERED: f"not covered{what}",
        }[self.standing]
        return f"{word}: {worst[0].sentence}" if worst else word
