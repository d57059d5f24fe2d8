# SPDX-License-Identifier: GPL-2.0-or-later
"""What the watcher may do once it listens: read and change processes, and nothing else that is root's alone."""

from __future__ import annotations

import ctypes
import struct
from typing import Final

# linux/capability.h; /proc/PID/mem belongs to the process's user, so DAC_OVERRIDE is needed to change others'
_DAC_OVERRIDE, _DAC_READ_SEARCH, _SYS_PTRACE = 1, 2, 19
_KEPT: Final = (_DAC_OVERRIDE, _DAC_READ_SEARCH, _SYS_PTRACE)
_VERSION_3: Final = 0x20080522
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_MOST: Final = 63

_libc: Final = ctypes.CDLL(None, use_errno=True)


def drop() -> None:
    """Give up every other capability, for this process and all that it starts; best effort for who has none."""
    for number in range(_MOST + 1):
        if number not in _KEPT:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0))
    mask = sum(1 << number for number in _KEPT)
    # effective, permitted, inheritable, for the lower and the upper 32 capabilities
    data = ctypes.create_string_buffer(struct.pack("=6I", mask, mask, 0, 0, 0, 0))
    _libc.capset(header, data)
