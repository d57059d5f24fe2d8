# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of applied live patches: both layouts, damaged and hostile ones, and what the real libpulp writes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from host import procfs
from tests.support.images import loading
from tests.support.libpulp import apply, needs_libpulp, padded_library, preloaded, revert
from tests.support.livepatches import ten_functions
from tests.support.pretender import Patch, Unit, pretended
from tests.support.targets import caller
from ulp import container
from ulp.engines.pulp import abi, state
from ulp.engines.pulp.library import find
from ulp.memory import Memory
from ulp.result import Damaged

NAME = f"libstate{os.getpid()}.so.0"


def read(pid: int) -> tuple[state.Patch, ...]:
    mappings = procfs.parse_maps(procfs.read(f"/proc/{pid}/maps"))
    with Memory(pid) as memory:
        libpulp = find(memory, mappings, {})
        assert libpulp is not None
        return state.patches(memory, libpulp)


def pretend(library: Path) -> tuple[state.Patch, ...]:
    with loading(library) as pid:
        return read(pid)


TWO = (
    Patch(
        id=b"\2" * 32,
        units=(Unit(old="0x1100", new="0x2200"), Unit(old="0x1300", new="0x2400")),
        time=1795222864,
    ),
    Patch(library='"lib\\n\\377.so.0"', container='""', units=(), time=17),
)


@pytest.mark.parametrize("version", ["0.3.1", "0.3.17", "0.10.0", "1.0.0", "0.3.17+git5"])
def test_newest_first_with_times(version: str) -> None:
    assert pretend(pretended(*TWO, version=version)) == (
        state.Patch(
            b"\2" * 32,
            "libtarget.so.0",
            "/usr/lib64/lp/livepatch1.so",
            ((0x1100, 0x2200), (0x1300, 0x2400)),
            1795222864.0,
        ),
        state.Patch(b"\1" * 32, "lib\n\udcff.so.0", "", (), 17.0),
    )


@pytest.mark.parametrize("version", [None, "", "0.2.8", "0.3.0", "unknown"])
def test_before_0_3_1_there_is_no_time(version: str | None) -> None:
    """What lies behind the shorter structure is somebody else's, here a number that looks like a time."""
    found = pretend(pretended(*TWO, version=version))
    assert [patch.time for patch in found] == [None, None]
    assert [len(patch.units) for patch in found] == [2, 0]


def test_a_time_of_zero_is_none() -> None:
    assert [patch.time for patch in pretend(pretended(Patch(time=0)))] == [None]


def test_nothing_applied() -> None:
    assert pretend(pretended()) == ()


def test_disabling_hides_nothing() -> None:
    assert len(pretend(pretended(*TWO, error=abi.DISABLED_BY_USER))) == 2


NO_END = "does not end"
NOTHING = "nothing can be read at"
ITSELF = Patch(next="&patch_0")
DAMAGED: dict[str, tuple[Sequence[Patch], str, str]] = {
    "a patch follows itself": ([ITSELF], "", NO_END),
    "the last leads to the first": ([Patch(), Patch(), ITSELF], "", NO_END),
    "a function follows itself": ([Patch(units=(Unit(), Unit()), units_end="&unit_0_0")], "", NO_END),
    "the newest is nowhere": ([], "8", NOTHING),
    "the newest is in the kernel": ([], "0xffffffff81000000", NOTHING),
    "the newest is the last address": ([], "-1", NOTHING),
    "a patch leads nowhere": ([Patch(next="0x7fffffffe000")], "", NOTHING),
    "functions lead nowhere": ([Patch(units_end="1")], "", NOTHING),
    "no name": ([Patch(library="0")], "", "there is no name at 0x0"),
    "a name nowhere": ([Patch(container="-8")], "", "there is no name at 0xf"),
    "a name without end": ([Patch(container="endless")], "", "there is no name"),
    "a thousand patches and one": ([Patch(units=())] * 1001, "", NO_END),
}


@pytest.mark.parametrize(("patches", "newest", "reason"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_list_is_refused_quickly(patches: Sequence[Patch], newest: str, reason: str) -> None:
    library = pretended(*patches, newest=newest)
    begin = time.monotonic()
    with pytest.raises(Damaged, match=reason):
        pretend(library)
    assert time.monotonic() - begin < 20


def test_long_lists_that_end() -> None:
    assert len(pretend(pretended(*[Patch(units=())] * 1000))) == 1000
    (patch,) = pretend(pretended(Patch(units=[Unit()] * 2000)))
    assert len(patch.units) == 2000


class Changing(Memory):
    """A process's memory in which another tool takes the newest patch back and applies it anew."""

    place = 0
    second = 0
    changes = 0

    def read(self, address: int, size: int) -> bytes:
        if address == self.place and self.changes:
            self.changes -= 1
            if self.changes % 2 == 0:
                return abi.STATE_LAYOUT.pack(1, self.second)
        return super().read(address, size)


@pytest.mark.parametrize(("changes", "patches"), [(0, 2), (1, 2), (3, 2), (100, 0)])
def test_a_list_that_changes_is_read_again(changes: int, patches: int) -> None:
    with loading(pretended(*TWO)) as pid, contextlib.ExitStack() as stack:
        memory = Changing(pid)
        stack.enter_context(memory)
        libpulp = find(memory, procfs.parse_maps(procfs.read(f"/proc/{pid}/maps")), {})
        assert libpulp is not None
        memory.place = libpulp.symbols[abi.STATE]
        _, newest = abi.STATE_LAYOUT.unpack(memory.read(memory.place, abi.STATE_LAYOUT.size))
        memory.second = abi.PATCH_LAYOUT.unpack(memory.read(newest, abi.PATCH_LAYOUT.size))[4]
        memory.changes = changes
        if patches:
            assert len(state.patches(memory, libpulp)) == patches
        else:
            with pytest.raises(Damaged, match="changes all the time"):
                state.patches(memory, libpulp)


@needs_libpulp
def test_what_the_real_one_writes() -> None:
    library = padded_library(name=NAME)
    first, second = ten_functions(200, library=library), ten_functions(300, library=library)
    with preloaded(caller(library)) as target:
        assert read(target.pid) == ()
        before = int(time.time())
        apply(target, first)
        apply(target, second)
        after = time.time()
        newest, oldest = read(target.pid)
        for patch, path in ((oldest, first), (newest, second)):
            assert patch.patch_id == container.read(path).patch_id
            assert (patch.library, patch.container) == (NAME, str(path))
            assert patch.time is not None and before <= patch.time <= after
            assert len(patch.units) == 10
        assert [old for old, _ in oldest.units] == [old for old, _ in newest.units]
        mappings = procfs.parse_maps(procfs.read(f"/proc/{target.pid}/maps"))
        homes = [
            {next(m.path for m in mappings if m.start <= unit[side] < m.end) for unit in oldest.units}
            for side in (0, 1)
        ]
        assert homes == [{str(library)}, {str(first)}]
        revert(target, first)
        assert [patch.container for patch in read(target.pid)] == [str(second)]
