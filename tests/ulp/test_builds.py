# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds in real processes: read once, and never believed of others because one process says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.livepatches import build_id
from tests.support.targets import answers_library, caller, compiled, program, running
from ulp.builds import Builds, read_maps
from ulp.memory import Memory

NAME = f"libbuilds{os.getpid()}.so.0"


@pytest.fixture(name="library", scope="module")
def _library() -> Path:
    return answers_library(name=NAME)


def mapped(builds: Builds, pid: int) -> dict[str, str]:
    """The builds in a process: path -> hexadecimal build-id."""
    return {os.fsdecode(path): build.hex() for build, path in builds.mapped(pid, read_maps(pid)).items()}


def test_a_file_is_read_in_the_first_process_only(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    class Counted(Memory):
        def read_some(self, address: int, size: int) -> bytes:
            data = super().read_some(address, size)
            if data.startswith(b"\x7fELF"):
                read.append(data)
            return data

    monkeypatch.setattr("ulp.builds.Memory", Counted)
    builds = Builds()
    with running(caller(library)) as one, running(caller(library)) as two:
        first = mapped(builds, one.pid)
        count = len(read)
        second = mapped(builds, two.pid)
    assert first == second
    assert first[str(library)] == build_id(library)
    assert len(read) == count >= 3  # the program, the library, libc


@pytest.mark.parametrize("words", [[], ["shared"]], ids=["private", "shared"])
def test_a_file_that_is_only_read_is_no_library_of_the_process(library: Path, words: list[str]) -> None:
    reading = compiled("reader.c", f'-DFILE_READ="{library}"')
    both = compiled("reader.c", f'-DFILE_READ="{library}"', "-DWITH_LIBRARY", libraries=[library])
    with running(reading, *words) as target:
        assert str(library) in target.maps()
        assert str(library) not in mapped(Builds(), target.pid)
    with running(both, *words) as target:
        assert target.maps().count(str(library)) > 4
        assert mapped(Builds(), target.pid)[str(library)] == build_id(library)


@pytest.mark.parametrize("words", [["magic"], []], ids=["no-elf", "other-build"])
def test_a_process_that_lies_about_a_library_lies_about_itself_only(library: Path, words: list[str]) -> None:
    builds = Builds()
    with running(program("impostor", library), *words) as impostor, running(caller(library)) as honest:
        assert mapped(builds, impostor.pid).get(str(library)) != build_id(library)
        assert mapped(builds, honest.pid)[str(library)] == build_id(library)
