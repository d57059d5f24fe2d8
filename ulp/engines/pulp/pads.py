# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a build has space for libpulp's detours: it was compiled with -fpatchable-function-entry=16,14.

The code is searched, not the symbols: functions that are not exported count, whatever hash table the library has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ulp import elf_constants as c
from ulp.arch.x86_64_detour import BEFORE, padded_entries

if TYPE_CHECKING:
    from ulp.image import Image
    from ulp.memory import Memory

_WINDOW: Final = 1 << 18  # bytes searched at once; most builds with pads show one in the first
_OVERLAP: Final = 2 * BEFORE
_MOST_CODE: Final = 1 << 30  # bytes; a damaged image can claim any size


def has_pads(memory: Memory, bias: int, image: Image) -> bool:
    """Say whether libpulp could divert a function of this object. Raises NotAnImage and MemoryGone."""
    return any(
        certain or _begins_at(image, address + offset)
        for load in image.loads
        if load.flags & c.PF_X
        for address in range(load.address, load.address + min(load.memory_size, _MOST_CODE), _WINDOW)
        for offset, certain in padded_entries(
            memory.read_some(
                bias + address, min(_WINDOW + _OVERLAP, load.address + load.memory_size - address)
            )
        )
    )


def _begins_at(image: Image, address: int) -> bool:
    function = image.unwind.function_at(address)
    return function is not None and function[0] == address
