# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns of names as fnmatch(3) knows them, ``[[:digit:]]`` and ``[^x]`` included, which Python's fnmatch lacks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Final

SPECIAL: Final = frozenset("*?[")  # what makes a word a pattern
_NO_ESCAPE: Final = 2  # FNM_NOESCAPE: a backslash stands for itself


@functools.cache
def _fnmatch() -> Callable[[bytes, bytes, int], int]:
    import ctypes  # slow to import, and most commands meet no pattern

    function: Callable[[bytes, bytes, int], int] = ctypes.CDLL(None).fnmatch
    return function


def matches(name: str, pattern: str, *, escapes: bool = True) -> bool:
    """Say whether the pattern fits the whole name; ``escapes``: a backslash takes away a character's meaning."""
    flags = 0 if escapes else _NO_ESCAPE
    return _fnmatch()(os.fsencode(pattern), os.fsencode(name), flags) == 0
