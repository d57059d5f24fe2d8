# SPDX-License-Identifier: GPL-2.0-or-later
"""MD4 (RFC 1320), which names live patches in libpulp's format and protects nothing.

OpenSSL 3 keeps MD4 in its legacy provider, so ``hashlib.new("md4")`` fails on most systems.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_MASK: Final = 0xFFFFFFFF
_BLOCK: Final = Struct("<16I")
_STATE: Final = Struct("<4I")
_INITIAL: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
# One row a round (RFC 1320, 3.4): what is added, how far is rotated, in which order the words are taken.
_ROUNDS: Final = (
    (0x00000000, (3, 7, 11, 19), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
    (0x5A827999, (3, 5, 9, 13), (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)),
    (0x6ED9EBA1, (3, 9, 11, 15), (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)),
)


def md4(data: bytes) -> bytes:
    """Return the 16-byte digest."""
    padding = b"\x80" + bytes((55 - len(data)) % 64) + (8 * len(data)).to_bytes(8, "little")
    state: tuple[int, ...] = _INITIAL
    for words in _BLOCK.iter_unpack(data + padding):
        a, b, c, d = state
        for number, (constant, shifts, order) in enumerate(_ROUNDS):
            for step, index in enumerate(order):
                if number == 0:
                    mixed = (b & c) | (~b & d)
                elif number == 1:
                    mixed = (b & c) | (b & d) | (c & d)
                else:
                    mixed = b ^ c ^ d
                total = (a + mixed + words[index] + constant) & _MASK
                shift = shifts[step % 4]
                a, b, c, d = d, (total << shift | total >> (32 - shift)) & _MASK, b, c
        state = tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True))
    return _STATE.pack(*state)
