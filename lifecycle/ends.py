# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when something is maintained, and how zypper-lifecycle-plugin writes that."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

_NOW, _DAY, _NOT_TOLD, _NEVER = range(4)
# zypper-lifecycle-plugin's numbers, in the files that --save writes: seconds since the epoch, or
_SECONDS = {_NOW: 0, _NOT_TOLD: 10**15, _NEVER: 10**15 + 1}
_VENDORS = ("SUSE", "openSUSE")


class End(NamedTuple):
    """An end of support; the sooner it comes the smaller it is."""

    rank: int
    day: datetime.date = datetime.date.min  # the first one without support, if there is one

    @property
    def date(self) -> datetime.date | None:
        """The first day without support, if it is known."""
        return self.day if self.rank == _DAY else None

    @property
    def is_known(self) -> bool:
        """Whether it is over, or a date."""
        return self.rank <= _DAY

    def text(self, vendor: str = "") -> str:
        """Return how it is shown; vendors who keep a page about their products get a star."""
        if self.rank == _DAY:
            return self.day.isoformat()
        star = "*" if vendor.startswith(_VENDORS) else ""
        return {_NOW: "Now", _NOT_TOLD: f"n/a{star}", _NEVER: "-"}[self.rank]

    def seconds(self) -> int:
        """Return the number that stands for it in the files that --save writes."""
        if self.rank == _DAY:
            return (self.day - datetime.date(1970, 1, 1)).days * 86400
        return _SECONDS[self.rank]


NOW = End(_NOW)
NOT_TOLD = End(_NOT_TOLD)  # there is an end, but nobody says when
NEVER = End(_NEVER)  # no end is announced


def on(day: datetime.date) -> End:
    """Return the end of support on a day."""
    return End(_DAY, day)


def from_seconds(seconds: int) -> End:
    """Return what stands for so many seconds since the epoch, as product files and libsolv have it; 0: not told.

    Raises ValueError for what is no date.
    """
    if seconds == 0:
        return NOT_TOLD
    try:
        return on(datetime.datetime.fromtimestamp(seconds, datetime.UTC).date())
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error


def parse_date(text: str) -> datetime.date:
    """Return the date that is written as YYYY-MM-DD; raises ValueError."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return datetime.date.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError(f"'{text}' is no date: write YYYY-MM-DD")
