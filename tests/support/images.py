# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries as they lie in memory: in processes that have loaded them, and made from a file's bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.memory import FakeMemory
from ulp import elf_constants as c
from ulp.elf import Elf

PAGE = 4096
_LOADER = """
import ctypes, os, sys
for path in sys.argv[1:]:
    ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def loading(*libraries: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A Python process that has loaded libraries, one after the other; gives its pid."""
    words: Sequence[str] = [sys.executable, "-S", "-c", _LOADER, *map(str, libraries)]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=None if environment is None else dict(environment),
    ) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == b"\n", (
                "a library cannot be loaded"
            )
            yield child.pid
        finally:
            child.kill()


def mapped(data: bytes, bias: int) -> FakeMemory:
    """A memory that a shared object is mapped into, unrelocated, as musl and the kernel's vdso leave it."""
    elf = Elf(data)
    pages: dict[int, bytes] = {}
    for load in elf.loads:
        start = load.address & -PAGE
        end = -(-(load.address + load.memory_size) // PAGE) * PAGE
        first = load.offset - (load.address - start)
        # the rest of the last page is what follows in the file, zeroed where the segment can be written
        last = load.offset + load.file_size if load.flags & c.PF_W else first + end - start
        content = data[first:last]
        content = content.ljust(end - start, b"\0")
        for offset in range(0, len(content), PAGE):
            pages[bias + start + offset] = content[offset : offset + PAGE]
    return FakeMemory(pages)
