# SPDX-License-Identifier: GPL-2.0-or-later
"""The interface that libpulp.so.0 shows to tools, as of version 0.3.17: its symbols, structures and error numbers.

Source: libpulp's include/ulp_common.h, msg_queue.h, insn_queue.h and error_common.h. All is little endian.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import Final

NAME: Final = "libpulp.so"  # what its soname and nearly always its file name begin with

TRIGGER: Final = "__ulp_trigger"
REVERT_ALL: Final = "__ulp_revert_all"
CHECK_PATCHED: Final = "__ulp_check_patched"
GLOBAL_UNIVERSE: Final = "__ulp_get_global_universe"
TOGGLE: Final = "__ulp_enable_or_disable_patching"
METADATA: Final = "__ulp_metadata_buffer"
STATE: Final = "__ulp_state"
ERROR_STATE: Final = "__ulp_error_state"
VERSION: Final = "__ulp_version"
MESSAGES: Final = "__ulp_msg_queue"
INSTRUCTIONS: Final = "__ulp_insn_queue"
SYMBOLS: Final = (
    TRIGGER,
    REVERT_ALL,
    CHECK_PATCHED,
    GLOBAL_UNIVERSE,
    TOGGLE,
    METADATA,
    STATE,
    ERROR_STATE,
    VERSION,
    MESSAGES,
    INSTRUCTIONS,
)

ENTRY_SKIP: Final = (
    2  # bytes of a stub (nop nop call int3) that a call begins behind, see its ulp_interface.S
)
METADATA_SIZE: Final = 512 * 1024  # of METADATA
LONGEST_NAME: Final = 256  # bytes of a path or name with its NUL

STATE_LAYOUT: Final = struct.Struct("<B7xQ")  # load_state (1: the constructor has run), newest patch
# id, library, container, units, next, dependencies, and from TIME_SINCE on seconds since the epoch
PATCH_LAYOUT: Final = struct.Struct("<32sQQQQQ")
PATCH_TIME_LAYOUT: Final = struct.Struct("<32sQQQQQq")
TIME_SINCE: Final = (0, 3, 1)
UNIT_LAYOUT: Final = struct.Struct(
    "<QQ14sBxQ"
)  # old function, new function, overwritten bytes, unused, next

RING_SIZE: Final = 2 * 1024 * 1024  # bytes of messages, at the start of MESSAGES
RING_LAYOUT: Final = struct.Struct("<III")  # behind them: top, bottom, distance

QUEUE_LAYOUT: Final = struct.Struct("<III")  # version, number of instructions, their size in bytes
QUEUE_VERSION: Final = 1
QUEUE_HEADS: Final = (
    16,
    12,
)  # bytes before the instructions: padded; as 0.3.0 has it, with the same version
QUEUE_SIZE: Final = 2 * 1024 * 1024  # most bytes of instructions

DISABLED_BY_USER: Final = 280
EAGAIN: Final = 11
_FIRST: Final = 256
_SENTENCES: Final = (
    "Unknown error",
    "Build ID mismatch",
    "Error attaching to process",
    "Process without debug tag",
    "No link map in object",
    "Invalid program header",
    "Unable to find process entry address",
    "Libpulp not found in target process",
    "Thread attach failure",
    "Thread dettach failure",
    "Invalid .ulp file",
    "To be patched function not found",
    "New function not found",
    "No metadata in .so",
    "State update failure",
    "Unable to retrieve ulp state",
    "Patch not applied",
    "Dependency failure",
    "Address read error",
    "Patch already applied",
    "Target library not loaded",
    "libpulp.so hook routine not run",
    "Function is not livepatchable",
    "No file matched wildcard",
    "Livepatching blocked by user request",
    "Libpulp version is too old",
    "Libpulp initialization failure",
    "Page permission error",
    "No patches installed",
    "Instruction queue in inconsistent state",
    "ULP tool is too old",
    "Failure in dlopen",
    "Libdl not found.",
    "Libc not found or unsupported.",
)


def sentence(code: int) -> str:
    """Return what users of libpulp know an error number by; below 256 it is an errno."""
    if 0 <= code < _FIRST:
        return os.strerror(code)
    if 0 <= code - _FIRST < len(_SENTENCES):
        return _SENTENCES[code - _FIRST]
    return f"Unknown error {code}"


@functools.lru_cache(maxsize=16)  # asked of each process, and most have the same
def version_number(text: str) -> tuple[int, int, int]:
    """Return the three numbers of a version, (0, 0, 0) where it is none: "0.3.17+git1" -> (0, 3, 17)."""
    numbers = []
    for part in text.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            return (0, 0, 0)
        numbers.append(int(digits))
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else (0, 0, 0)
