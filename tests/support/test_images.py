# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries in memory are where they are said to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.procfs import parse_maps, read
from tests.support.containers import build_library
from tests.support.images import loading, mapped


def test_a_process_that_has_loaded_a_library(tmp_path: Path) -> None:
    library = build_library(tmp_path, "int answer(void) { return 42; }")
    with loading(library) as pid:
        paths = {mapping.path for mapping in parse_maps(read(f"/proc/{pid}/maps"))}
        assert str(library) in paths
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(AssertionError, match="cannot be loaded"), loading(tmp_path / "absent.so"):
        pass


def test_a_file_in_memory_is_what_the_loader_maps(tmp_path: Path) -> None:
    library = build_library(
        tmp_path, "int answer(void) { return 42; } int zeros[5000];", flags=["-Wl,-z,norelro"]
    )
    with loading(library) as pid, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        mappings = [m for m in parse_maps(read(f"/proc/{pid}/maps")) if m.path == str(library)]
        fake = mapped(library.read_bytes(), mappings[0].start)
        compared = 0
        for mapping in mappings:
            if "w" not in mapping.permissions:
                size = mapping.end - mapping.start
                assert fake.read(mapping.start, size) == os.pread(memory.fileno(), size, mapping.start)
                compared += 1
        assert compared >= 3
