# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that is none behaves as the real one does."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest

from tests.support.memory import FakeMemory
from ulp.memory import Memory, MemoryGone, Unreadable, Unwritable


def test_the_same_answers_as_a_real_memory() -> None:
    page = mmap.PAGESIZE
    area = (ctypes.c_ubyte * (2 * page))(*(bytes(range(256)) * (2 * page // 256)))
    address = ctypes.addressof(area)
    fake = FakeMemory({address: bytes(area)[:page], address + page: bytes(area)[page:]})
    with Memory(os.getpid()) as real:
        for start, size in ((0, 8), (page - 3, 6), (0, 2 * page)):
            assert fake.read(address + start, size) == real.read(address + start, size)
        for memory in (fake, real):
            memory.write(address + page - 2, b"abcd")
            assert memory.read(address + page - 3, 6) == b"\xfdabcd\x02"
            assert memory.string(address + page - 2, 3) == b"abc"
            for hole in (0, 8):
                assert memory.read_some(hole, 8) == b""
                with pytest.raises(Unreadable):
                    memory.read(hole, 8)
                with pytest.raises(Unwritable):
                    memory.write(hole, b"x")


def test_a_memory_that_is_gone() -> None:
    memory = FakeMemory({0: b"abc"})
    before = memory.snapshot()
    memory.gone = True
    assert memory.read(0, 0) == b""
    for call in (lambda: memory.read(0, 3), lambda: memory.read_some(0, 3), lambda: memory.write(0, b"x")):
        with pytest.raises(MemoryGone):
            call()
    assert memory.snapshot() == before and memory.writes == 0
