# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns of names as fnmatch(3) knows them, ``[[:digit:]]`` and ``[^x]`` included, which Python's fnmatch lacks."""

from __future__ import annotations

import ctypes
import os
from typing import Final

SPECIAL: Final = frozenset("*?[")  # what makes a word a pattern
_NO_ESCAPE: Final = 2  # FNM_NOESCAPE: a backslash stands for itself

_fnmatch = ctypes.CDLL(None).fnmatch
_fnmatch.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)


def matches(name: str, pattern: str, *, escapes: bool = True) -> bool:
    """Say whether the pattern fits the whole name; ``escapes``: a backslash takes away a character's meaning."""
    flags = 0 if escapes else _NO_ESCAPE
    return bool(_fnmatch(os.fsencode(pattern), os.fsencode(name), flags) == 0)
