# SPDX-License-Identifier: GPL-2.0-or-later
"""The direct engine: patches processes that preload nothing, from outside.

In the order of a change: ``prepare`` (everything that can be computed while the process runs: ``layout``, ``link``,
``symbols``, ``functions``), ``inject`` (memory is mapped by one thread), ``stop`` (all threads stand, looked at for
calls that are in the way), ``commit`` (the bytes change), ``record`` (what the process itself keeps about it) and
``recover`` (when a tool was killed in the middle).
"""

from __future__ import annotations

from typing import Final

MAPS_MARK: Final = b"/memfd:ulp1-"  # in every line of /proc/PID/maps that leads to a record
