# SPDX-License-Identifier: GPL-2.0-or-later
"""What libpulp's metadata buffer holds when a live patch is to be applied or taken back.

It is the content of .ulp or .ulp.rev (ulp/container_format.py) with the container's path put in behind the patch id.
Source: parse_metadata_from_mem() in libpulp's common/common.c.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import Final

from ulp.container import Container, encode_apply
from ulp.engines.pulp import abi
from ulp.result import Reason, Refusal

_U32: Final = struct.Struct("<I")
_LONGEST_PATH: Final = 4096  # PATH_MAX
_HEAD: Final = 33  # bytes of type and patch id
_REVERT: Final = 2
_NO_BUILD_ID: Final = bytes(20)  # libpulp takes back by patch id alone


@functools.lru_cache(maxsize=16)  # the same for each process
def to_apply(container: Container) -> bytes:
    """Return what asks for a container; raises Refusal (unsupported-container) when it does not fit."""
    data = encode_apply(container)
    wire = data[:_HEAD] + _text(os.fsencode(container.path)) + data[_HEAD:]
    if len(wire) > abi.METADATA_SIZE or len(os.fsencode(container.path)) >= _LONGEST_PATH:
        raise Refusal(
            Reason.UNSUPPORTED_CONTAINER, "its path or what it replaces is too long for libpulp's buffer"
        )
    return wire


def to_revert(*, patch_id: bytes, container: str, library: str) -> bytes:
    """Return what asks for a live patch to be taken back."""
    head = bytes((_REVERT,)) + patch_id + _text(os.fsencode(container) or b"?")
    return head + _U32.pack(len(_NO_BUILD_ID)) + _NO_BUILD_ID + _text(os.fsencode(library))


def _text(text: bytes) -> bytes:
    return _U32.pack(len(text) + 1) + text + b"\0"
