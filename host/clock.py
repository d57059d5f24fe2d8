# SPDX-License-Identifier: GPL-2.0-or-later
"""What time it is, for all that has to do with dates: ends of support are days in UTC, wherever the machine stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime


def now() -> datetime.datetime:
    """Return this moment, in UTC."""
    import datetime  # slow to import for commands that ask for no date

    return datetime.datetime.now(datetime.UTC)


def today() -> datetime.date:
    """Return the day that ends of support are compared with."""
    return now().date()
