# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a container is put: free, near, and in nobody's way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from host.procfs import Mapping, parse_maps, read
from ulp.arch.x86_64 import DETOUR_REACH, PAGE
from ulp.engines.direct.placement import find_place

MARGIN = 16 * PAGE
HEAP_ROOM = 1 << 30
TOP = 0x7FFF_FFFF_F000
GIB = 1 << 30


def mapping(start: int, end: int, path: str = "/lib.so") -> Mapping:
    return Mapping(start, end, "r-xp", 0, "00:01", 1, path)


@st.composite
def maps(draw: st.DrawFn) -> tuple[Mapping, ...]:
    """A memory map in order, crowded or wide, with a heap and a stack somewhere."""
    address = draw(st.integers(16, 1 << 30)) * PAGE
    found = []
    for _ in range(draw(st.integers(1, 12))):
        address += draw(st.sampled_from([0, 0, PAGE, MARGIN, 2 * MARGIN + PAGE, 1 << 24, GIB, 3 * GIB]))
        size = draw(st.sampled_from([PAGE, 4 * PAGE, 1 << 21, GIB, 2 * GIB]))
        path = draw(st.sampled_from(["/lib.so", "", "[heap]", "[stack]", "[vdso]"]))
        if address + size > TOP:
            break
        found.append(mapping(address, address + size, path))
        address += size
    if draw(st.booleans()):
        found.append(Mapping(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, "--xp", 0, "00:00", 0, "[vsyscall]"))
    return tuple(found)


@settings(max_examples=400)
@given(st.data(), maps(), st.sampled_from([1, 3, 64, 1 << 14, 1 << 18]))
def test_the_place_is_free_and_near_and_in_nobodys_way(
    data: st.DataObject, mappings: tuple[Mapping, ...], pages: int
) -> None:
    size = pages * PAGE
    users = [item for item in mappings if item.start < TOP]
    if not users:
        return
    target = data.draw(st.sampled_from(users))
    first = data.draw(st.integers(target.start, target.end - 1))
    last = data.draw(st.integers(first, target.end - 1))
    refused: set[int] = set()
    for _ in range(4):
        place = find_place(mappings, size=size, near=(first, last), refused=refused)
        if place is None:
            break
        assert place % PAGE == 0 and place not in refused
        assert place >= 1 << 16 and place + size <= TOP
        for item in mappings:
            assert place + size + MARGIN <= item.start or item.end + MARGIN <= place
            if item.path == "[heap]":
                assert not item.end <= place < item.end + HEAP_ROOM or any(
                    item.end <= other.start <= place for other in mappings if other is not item
                )
        above = next((item for item in mappings if item.start >= place), None)
        assert above is None or above.path != "[stack]"
        for function in (first, last):
            for code in (place, place + size):
                assert abs(code - function) <= DETOUR_REACH
        refused.add(place)


@settings(max_examples=200)
@given(maps(), st.sampled_from([PAGE, 64 * PAGE]))
def test_a_place_is_found_where_there_is_one(mappings: tuple[Mapping, ...], size: int) -> None:
    """Counted the slow way: page after page near the ends of gaps."""
    users = [item for item in mappings if item.start < TOP]
    if not users:
        return
    near = (users[0].start, users[0].start)
    place = find_place(mappings, size=size, near=near)
    candidates = []
    end, before = 1 << 16, ""
    for item in users:
        low = end + (HEAP_ROOM if before == "[heap]" else MARGIN)
        high = item.start - MARGIN - size
        if item.path != "[stack]":
            candidates += [
                at
                for at in (-(-low // PAGE) * PAGE, high & -PAGE, near[0] - DETOUR_REACH + PAGE & -PAGE)
                if low <= at <= high and near[0] - DETOUR_REACH <= at <= near[0] + DETOUR_REACH - size
            ]
        end, before = item.end, item.path
    assert (place is None) == (not candidates)
    if place is not None:
        assert min(abs(at - near[0]) for at in candidates) == abs(place - near[0])


def test_below_the_target_first() -> None:
    mappings = (mapping(GIB, GIB + PAGE), mapping(2 * GIB, 2 * GIB + PAGE))
    assert find_place(mappings, size=PAGE, near=(2 * GIB, 2 * GIB)) == 2 * GIB - MARGIN - PAGE
    assert (
        find_place(mappings, size=PAGE, near=(GIB, GIB), refused=[GIB - MARGIN - PAGE])
        == GIB + PAGE + MARGIN
    )


def test_no_room() -> None:
    near = (4 * GIB, 4 * GIB)
    full = (mapping(1 << 16, 8 * GIB),)
    assert find_place(full, size=PAGE, near=near) is None
    assert find_place((), size=PAGE, near=near) is None
    assert find_place((mapping(4 * GIB, 4 * GIB + PAGE),), size=5 * GIB, near=near) is None
    # functions that lie further apart than one place can reach
    assert (
        find_place((mapping(GIB, 9 * GIB), mapping(10 * GIB, 11 * GIB)), size=PAGE, near=(GIB, 9 * GIB - 1))
        is None
    )


def test_this_very_process() -> None:
    mappings = parse_maps(read("/proc/self/maps"))
    code = [item for item in mappings if item.permissions == "r-xp" and item.inode]
    for item in code:
        place = find_place(mappings, size=64 * PAGE, near=(item.start, item.end))
        assert place is not None, item
        assert not any(m.start < place + 64 * PAGE and place < m.end for m in mappings)
