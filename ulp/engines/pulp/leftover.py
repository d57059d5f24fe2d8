# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a killed tool has left work in a process with libpulp; asked of every process that is listed.

Apart from ulp/engines/pulp/recover.py, which finishes it, because that imports most of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ulp.arch.x86_64_call import AREA, LONGEST_STATE, STATE_OFFSET, Status
from ulp.engines.pulp import abi, queue

if TYPE_CHECKING:
    from ulp.engines.pulp.library import Libpulp
    from ulp.memory import Memory

POISONED: Final = 285  # EINSNQ


def area_of(queue_address: int) -> int:
    """Return where the data of calls lies: at the end of the memory of the instruction queue, 64-byte aligned."""
    end = queue_address + min(abi.QUEUE_HEADS) + abi.QUEUE_SIZE
    return (end - STATE_OFFSET - LONGEST_STATE) & -64


def is_there(memory: Memory, libpulp: Libpulp) -> bool:
    """Say whether somebody has left work in a process; raises Unreadable and Damaged."""
    address = libpulp.symbols.get(abi.INSTRUCTIONS)
    return address is not None and (
        not queue.is_empty(memory, address) or libpulp.error_state == POISONED or is_calling(memory, address)
    )


def is_calling(memory: Memory, queue_address: int) -> bool:
    """Say whether a call has begun whose end no tool has seen; raises Unreadable."""
    status, *_ = AREA.unpack(memory.read(area_of(queue_address), AREA.size))
    return status in {Status.CALLING, Status.DONE}
