# SPDX-License-Identifier: GPL-2.0-or-later
"""Records in a process's memory: what is written is read, and what anybody else may have written is harmless."""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from host.procfs import Mapping, parse_maps, read
from tests.support.memory import FakeMemory
from ulp.engines.direct import record as records
from ulp.engines.direct.listing import as_applied
from ulp.engines.direct.record import (
    PAGE,
    Description,
    Diversion,
    Journal,
    Mark,
    Record,
    State,
    Write,
)
from ulp.memory import Memory, MemoryGone
from ulp.result import Damaged

PLACE = 0x7000_0000_0000
# docs/record-format.md, written down a second time on purpose
HEADER = struct.Struct("<8s I I Q III III")
FIELDS = (
    "magic",
    "version",
    "state",
    "sequence",
    "at",
    "size",
    "crc",
    "journal_at",
    "journal_size",
    "journal_crc",
)

_addresses = st.integers(0, (1 << 63) - 1)
_texts = st.text(max_size=30)  # lone surrogates included: bytes of a path that are no UTF-8
_hexes = st.binary(max_size=20)
_changes = st.integers(0, 18).flatmap(
    lambda size: st.tuples(st.binary(min_size=size, max_size=size), st.binary(min_size=size, max_size=size))
)
_diversions = st.builds(
    lambda name, function, new, address, entry, pad, change: Diversion(
        name=name, function=function, new=new, address=address, entry=entry, pad=pad,
        before=change[0], after=change[1],
    ),
    _texts, _addresses, _addresses, _addresses, _addresses, st.booleans(), _changes,
)  # fmt: skip
_descriptions = st.builds(
    Description,
    patch_id=st.binary(min_size=32, max_size=32),
    container=_texts,
    library=_texts,
    target_name=_texts,
    build_id=_hexes,
    labels=st.lists(_texts, max_size=3).map(tuple),
    time=st.floats(allow_nan=False),
    bias=st.integers(),
    end=_addresses,
    diversions=st.lists(_diversions, max_size=4).map(tuple),
)
_journals = st.builds(
    Journal,
    writes=st.lists(
        st.builds(
            lambda address, change, entry, pad, function: Write(
                address=address, before=change[0], after=change[1], entry=entry, pad=pad, function=function
            ),
            _addresses, _changes, _addresses, st.booleans(), _texts,
        ),
        max_size=5,
    ).map(tuple),
    marks=st.lists(st.builds(Mark, record=_addresses, state=st.sampled_from(State)), max_size=3).map(tuple),
)  # fmt: skip


def description(**changed: Any) -> Description:
    """A description of one small change."""
    fields: dict[str, Any] = {
        "patch_id": bytes(32), "container": "/a.so", "library": "/lib.so", "target_name": "lib.so",
        "build_id": b"id", "labels": ("bsc#1",), "time": 1.0, "bias": PLACE + PAGE, "end": PLACE + 3 * PAGE,
        "diversions": (
            Diversion(name="f", function=64, new=96, address=64, entry=64, pad=False, before=b"a", after=b"b"),
        ),
    }  # fmt: skip
    return Description(**{**fields, **changed})


def empty(pages: int = 16) -> FakeMemory:
    return FakeMemory({PLACE: bytes(pages * PAGE)})


def read_back(memory: Memory, pages: int = 16) -> Record | None:
    return records.read(memory, PLACE, pages * PAGE)


def forged(text: bytes, *, state: int = State.ACTIVE, journal: bytes = b"", **changed: Any) -> FakeMemory:
    """A memory with a record that is what anybody could have put there."""
    values = {
        "magic": b"ulp-rec\n", "version": 1, "state": state, "sequence": 1,
        "at": 48, "size": len(text), "crc": zlib.crc32(text),
        "journal_at": 48 + len(text), "journal_size": len(journal), "journal_crc": zlib.crc32(journal),
        **changed,
    }  # fmt: skip
    data = HEADER.pack(*(values[name] for name in FIELDS)) + text + journal
    return FakeMemory({PLACE: data.ljust(16 * PAGE, b"\0")})


def as_json(**changed: Any) -> bytes:
    fields = json.loads(records.encode_description(description()))
    return json.dumps({**fields, **changed}).encode()


@given(_descriptions, st.integers(0, (1 << 64) - 1), st.one_of(st.none(), _journals))
def test_what_is_written_is_read(wanted: Description, sequence: int, journal: Journal | None) -> None:
    pages = records.pages_for(records.encode_description(wanted))
    memory = empty(pages)
    records.write(memory, PLACE, wanted, sequence=sequence)
    expected = Record(
        address=PLACE,
        size=pages * PAGE,
        state=State.PREPARED,
        sequence=sequence,
        description=wanted,
        journal=None,
    )
    assert read_back(memory, pages) == expected
    if journal is not None:
        records.write_journal(memory, PLACE, pages * PAGE, journal)
        assert read_back(memory, pages) == expected, "a journal counts only while functions change"
        records.write_state(memory, PLACE, State.CHANGING)
        found = read_back(memory, pages)
        assert found is not None and found.journal == journal


def test_the_bytes_are_those_of_the_documentation() -> None:
    memory = empty()
    records.write(memory, PLACE, description(), sequence=7)
    journal = Journal(
        writes=(Write(address=64, before=b"a", after=b"b", entry=64, pad=False, function="f"),),
        marks=(Mark(record=PLACE, state=State.ACTIVE),),
    )
    records.write_journal(memory, PLACE, 16 * PAGE, journal)
    found = dict(zip(FIELDS, HEADER.unpack(memory.read(PLACE, HEADER.size)), strict=True))
    text = memory.read(PLACE + found["at"], found["size"])
    told = memory.read(PLACE + found["journal_at"], found["journal_size"])
    assert found == {
        "magic": b"ulp-rec\n", "version": 1, "state": 1, "sequence": 7, "at": 48, "size": len(text),
        "crc": zlib.crc32(text), "journal_at": 48 + len(text), "journal_size": len(told),
        "journal_crc": zlib.crc32(told),
    }  # fmt: skip
    assert json.loads(text.decode("ascii")) == {
        "patch_id": "00" * 32, "container": "/a.so", "library": "/lib.so", "target_name": "lib.so",
        "build_id": "6964", "labels": ["bsc#1"], "time": 1.0, "bias": PLACE + PAGE, "end": PLACE + 3 * PAGE,
        "functions": [
            {"name": "f", "function": 64, "new": 96, "address": 64, "entry": 64, "pad": False, "before": "61",
             "after": "62"}
        ],
    }  # fmt: skip
    assert json.loads(told) == {"writes": [[64, "61", "62", 64, False, "f"]], "marks": [[PLACE, 3]]}
    assert [state.value for state in State] == [1, 2, 3, 4]


class Killed(Exception):
    pass


def test_until_the_last_write_there_is_no_record() -> None:
    done = 0
    while True:
        memory = empty()
        records.write(memory, PLACE, description(container="/old.so"), sequence=1)
        left = done

        def before(address: int, data: bytes) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1

        memory.before_write = before
        try:
            records.write(memory, PLACE, description(container="/new.so"), sequence=2)
        except Killed:
            found = read_back(memory)
            assert found is None or (done == 0 and found.description.container == "/old.so")
        else:
            found = read_back(memory)
            assert done > 1 and found is not None and found.description.container == "/new.so"
            return
        done += 1


def test_a_journal_that_does_not_fit_is_refused_before_anything_is_written() -> None:
    memory = empty(1)
    records.write(memory, PLACE, description(), sequence=1)
    before = memory.snapshot()
    write = Write(address=64, before=b"a", after=b"b", entry=64, pad=False, function="f" * PAGE)
    with pytest.raises(Damaged):
        records.write_journal(memory, PLACE, PAGE, Journal(writes=(write,), marks=()))
    assert memory.snapshot() == before


def test_there_is_room_for_the_journal_of_a_change() -> None:
    def patch(functions: int) -> Description:
        one = description().diversions[0]._replace(before=bytes(20), after=bytes(20), pad=True)
        return description()._replace(
            diversions=tuple(one._replace(name=f"function_{number}") for number in range(functions))
        )

    for functions, reverted in ((1, [1000]), (1000, []), (1, [400, 400, 400]), (500, [500, 500])):
        text = records.encode_description(patch(functions))
        pages = records.pages_for(
            text, reverted=sum(len(records.encode_description(patch(n))) for n in reverted)
        )
        memory = empty(pages)
        records.write(memory, PLACE, patch(functions), sequence=1)
        writes = tuple(
            Write(
                address=item.address,
                before=item.before,
                after=item.after,
                entry=item.entry,
                pad=True,
                function=item.name,
            )
            for count in (functions, *reverted)
            for item in patch(count).diversions
        )
        marks = tuple(Mark(record=PLACE, state=State.ACTIVE) for _ in (0, *reverted))
        records.write_journal(memory, PLACE, pages * PAGE, Journal(writes=writes, marks=marks))
    assert records.pages_for(bytes(64 << 20)) == 4096, "more than that nobody looks for"


def test_no_record_is_none() -> None:
    assert read_back(empty()) is None
    assert records.read(FakeMemory({}), PLACE, PAGE) is None
    assert records.read(FakeMemory({PLACE: b"ulp-rec\n"}), PLACE, PAGE) is None
    memory = forged(as_json())
    memory.gone = True
    with pytest.raises(MemoryGone):
        read_back(memory)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 0}, {"version": 2}, {"state": 0}, {"state": 5}, {"state": 0xFFFFFFFF}, {"crc": 1},
        {"at": 49}, {"size": 17 * PAGE}, {"at": 0xFFFFFFFF, "size": 0xFFFFFFFF}, {"size": 0},
        {"journal_size": 16 * PAGE}, {"journal_at": 0xFFFFFFFF},
        {"state": 2, "journal_crc": 1}, {"state": 2, "journal_size": 3}, {"state": 2},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_is_wrong_is_damage(changed: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        read_back(forged(as_json(), **changed))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"null", b'"x"', b"1", b"\xff\xfe", b"\0" * 40, b"[" * 50_000, b'{"a":' * 50_000,
        b'{"time": ' + b"1" * 5000 + b"}",
        as_json(container=5), as_json(container=None), as_json(library=["x"]), as_json(target_name={}),
        as_json(patch_id=5), as_json(patch_id="zz"), as_json(patch_id="0"), as_json(build_id=None),
        as_json(labels=5), as_json(labels="text"), as_json(labels=[5]), as_json(labels={}),
        as_json(time="1.0"), as_json(time=1), as_json(time=None), as_json(time=10**400), as_json(time=[]),
        as_json(end=-1), as_json(end=1 << 63), as_json(bias=1.5), as_json(end="1"), as_json(end=True),
        as_json(functions=5), as_json(functions={}), as_json(functions=["f"]), as_json(functions=[{}]),
    ],
    ids=lambda text: repr(text[:30]),
)  # fmt: skip
def test_a_description_that_is_none_is_damage(text: bytes) -> None:
    with pytest.raises(Damaged):
        read_back(forged(text))


@pytest.mark.parametrize(
    "changed",
    [{"name": 5}, {"address": -1}, {"address": "0"}, {"entry": None}, {"pad": 1}, {"before": 5},
     {"before": "x"}, {"before": "6162"}, {"after": ""}, {"new": 1 << 64}, {"function": 0.5}],
    ids=str,
)  # fmt: skip
def test_a_function_that_cannot_be_is_damage(changed: dict[str, Any]) -> None:
    (function,) = json.loads(as_json())["functions"]
    with pytest.raises(Damaged):
        read_back(forged(as_json(functions=[{**function, **changed}])))


@pytest.mark.parametrize(
    "journal",
    [
        b"{}", b"[]", b'{"writes": 5, "marks": []}', b'{"writes": [5], "marks": []}',
        b'{"writes": [], "marks": [[1]]}',
        b'{"writes": [], "marks": [[1, 9]]}', b'{"writes": [], "marks": [[-1, 3]]}',
        b'{"writes": [], "marks": [["1", 3]]}',
        b'{"writes": [[1, "61", "6262", 1, false, "f"]], "marks": []}',
        b'{"writes": [[-1, "61", "62", 1, false, "f"]], "marks": []}',
        b'{"writes": [[1, "61", "62", 1, 5, "f"]], "marks": []}',
        b'{"writes": [[1, "61", "62", 1, false, null]], "marks": []}',
    ],
)  # fmt: skip
def test_a_journal_that_is_none_is_damage(journal: bytes) -> None:
    assert read_back(forged(as_json(), journal=journal)) is not None, "it counts only while functions change"
    with pytest.raises(Damaged):
        read_back(forged(as_json(), state=State.CHANGING, journal=journal))


_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.data())
def test_whatever_is_read_can_be_shown(data: st.DataObject) -> None:
    """What the checksum covers may still be anything: each value of a record has the type that users rely on."""
    fields = json.loads(as_json())
    for key in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=2)):
        fields[key] = data.draw(_values)
    try:
        found = read_back(forged(json.dumps(fields).encode()))
    except Damaged:
        return
    assert found is not None
    shown = as_applied(found)
    assert (
        os.path.basename(shown.container) + shown.library + "".join((*shown.labels, *shown.functions))
        is not None
    )
    assert isinstance(shown.time, float)
    assert all(0 <= item.address < 1 << 64 for item in found.description.diversions)


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=6))
@example([(12, 2)])
def test_any_byte_may_be_wrong(mutations: list[tuple[int, int]]) -> None:
    memory = forged(as_json(), journal=records.encode_journal(Journal(writes=(), marks=())))
    for offset, value in mutations:
        memory.write(PLACE + offset, bytes([value]))
    begin = time.process_time()
    try:
        found = read_back(memory)
    except Damaged:
        found = None
    assert found is None or found.description == description()
    assert time.process_time() - begin < 1


# Where records lie


def memfd(start: int, name: str, inode: int = 5) -> Mapping:
    return Mapping(start, start + PAGE, "r-xp", 0, "00:01", inode, f"/memfd:{name} (deleted)")


@given(st.binary(max_size=300), st.integers(1, 4096))
def test_a_label_leads_to_its_record(container: bytes, pages: int) -> None:
    name = records.label(os.fsdecode(container), pages=pages)
    assert len(name) < 250 and b"\0" not in name
    descriptor = os.memfd_create(os.fsdecode(name), 0)
    try:
        import mmap

        os.ftruncate(descriptor, PAGE)
        inode = os.fstat(descriptor).st_ino
        with mmap.mmap(descriptor, PAGE, mmap.MAP_PRIVATE):
            mappings = [m for m in parse_maps(read("/proc/self/maps")) if m.inode == inode]
            assert records.blocks(mappings) == [(mappings[0].start - pages * PAGE, pages * PAGE)]
    finally:
        os.close(descriptor)


def test_one_record_for_all_segments_of_a_block() -> None:
    assert records.blocks([memfd(PLACE, "ulp1-2-a"), memfd(PLACE + PAGE, "ulp1-2-a")]) == [
        (PLACE - 2 * PAGE, 2 * PAGE)
    ]
    assert len(records.blocks([memfd(PLACE, "ulp1-2-a", 5), memfd(PLACE + PAGE, "ulp1-2-a", 6)])) == 2


@pytest.mark.parametrize(
    "name", ["ulp1-", "ulp1-0-a", "ulp1--1-a", "ulp1-4097-a", "ulp1-9999999-a", "ulp1-1", "ulp1-x-a", "ulp2-1-a",
     "xulp1-1-a"]
)  # fmt: skip
def test_other_names_are_no_label(name: str) -> None:
    assert records.blocks([memfd(PLACE, name)]) == []


def test_a_file_of_such_a_name_is_no_label() -> None:
    line = Mapping(PLACE, PLACE + PAGE, "r-xp", 0, "00:01", 5, "/memfd:ulp1-1-a")
    assert (
        records.blocks([line, line._replace(path="/tmp/memfd:ulp1-1-a (deleted)"), line._replace(inode=0)])
        == []
    )


def test_a_label_below_which_there_is_nothing() -> None:
    with Memory(os.getpid()) as memory:
        assert records.read_all(memory, [memfd(PAGE, "ulp1-4096-a")]) == ()


def test_more_records_than_can_be_are_damage_and_cost_nothing() -> None:
    mappings = [memfd(PLACE + number * PAGE, "ulp1-4096-a", number + 1) for number in range(60_000)]
    begin = time.process_time()
    with pytest.raises(Damaged, match="60000"):
        records.read_all(empty(), mappings)
    assert time.process_time() - begin < 2


def test_records_come_in_order_of_application() -> None:
    pages = 4
    memory = FakeMemory({PLACE: bytes(3 * (pages + 1) * PAGE)})
    mappings = []
    for index, sequence in enumerate([3, 1, 2]):
        start = PLACE + index * (pages + 1) * PAGE
        records.write(memory, start, description(container=f"/{sequence}.so"), sequence=sequence)
        mappings.append(memfd(start + pages * PAGE, f"ulp1-{pages}-x", index + 1))
    found = records.read_all(memory, mappings)
    assert [record.description.container for record in found] == ["/1.so", "/2.so", "/3.so"]
