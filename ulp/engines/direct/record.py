# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process itself keeps about each of its live patches.

Every live patch lies in the process as one private block::

    record              anonymous, r--: header, description (JSON), journal (JSON)
    segments            of a memfd named "ulp1-PAGES-CONTAINER": so /proc/PID/maps lists what is there, and the
                        record starts PAGES pages below the first of them
    relocated, data     anonymous, r-- and rw-

The header's state word says what the block is; it is written as one aligned word. While functions change, the state is
CHANGING and the journal holds every byte before and after, so that whoever comes next can finish it.
docs/record-format.md describes the format for other tools.
"""

from __future__ import annotations

import enum
import json
import re
import struct
import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from host.procfs import Mapping
from ulp.memory import Memory, Unreadable
from ulp.result import Damaged

PAGE: Final = 4096
VERSION: Final = 1
MAGIC: Final = b"ulp-rec\n"
LABEL: Final = "ulp1"
_LABEL_PATTERN: Final = re.compile(r"^/memfd:ulp1-(\d{1,6})-(.*) \(deleted\)$", re.DOTALL)
# magic, version, state, sequence (order of application), then offset, size, CRC-32 of description and of journal
_HEADER: Final = struct.Struct("<8sIIQIIIIII")
_STATE_OFFSET: Final = 12
_DESCRIPTION_OFFSET: Final = 24
_STATE: Final = struct.Struct("<I")
_MOST_PAGES: Final = 4096  # of one record
_MOST_MEMORY: Final = 256 << 20  # bytes of all records of a process together


_Kind = TypeVar("_Kind")


class State(enum.IntEnum):
    """What a block is at the moment."""

    PREPARED = 1  # mapped and filled; nothing leads to it yet
    CHANGING = 2  # its journal is being carried out
    ACTIVE = 3  # its functions are in use
    INACTIVE = 4  # reverted; calls may still be in its code, so it stays


class Diversion(NamedTuple):
    """One function: where its bytes change, and from what to what."""

    name: str
    function: int  # address of the function
    new: int  # address of its replacement
    address: int  # where the bytes change
    entry: int  # address of the first replaced instruction that a call executes
    pad: bool
    before: bytes
    after: bytes


class Description(NamedTuple):
    """What does not change about a block; addresses are the process's own."""

    patch_id: bytes
    container: str
    library: str
    target_name: str  # the library as the container names it
    build_id: bytes
    labels: tuple[str, ...]
    time: float
    bias: int
    end: int
    diversions: tuple[Diversion, ...]


class Write(NamedTuple):
    """One place where bytes change."""

    address: int
    before: bytes
    after: bytes
    entry: int
    pad: bool
    function: str


class Mark(NamedTuple):
    """One record whose state changes with the bytes."""

    record: int
    state: State


class Journal(NamedTuple):
    """All that changes together, and the states of the records when it is done."""

    writes: tuple[Write, ...]
    marks: tuple[Mark, ...]


class Record(NamedTuple):
    """A block found in a process."""

    address: int
    size: int  # of the record's own memory, bytes
    state: State
    sequence: int
    description: Description
    journal: Journal | None


def label(container: str, *, pages: int) -> bytes:
    """Return the name for a block's memfd; the kernel takes 249 bytes (memfd_create(2))."""
    return (
        f"{LABEL}-{pages}-".encode() + container.encode("utf-8", "surrogateescape").replace(b"\0", b"")[:200]
    )


def blocks(mappings: Iterable[Mapping]) -> list[tuple[int, int]]:
    """Return (address, size) of where records should lie, by the labels in the memory map."""
    found: dict[int, tuple[int, int]] = {}
    for mapping in mappings:
        if mapping.inode and mapping.path.startswith("/memfd:ulp1-"):
            match = _LABEL_PATTERN.match(mapping.path)
            if match and 0 < int(match[1]) <= _MOST_PAGES and mapping.inode not in found:
                size = int(match[1]) * PAGE
                found[mapping.inode] = (mapping.start - size, size)
    return list(found.values())


def _diversion_to_json(item: Diversion) -> dict[str, Any]:
    return {
        "name": item.name,
        "function": item.function,
        "new": item.new,
        "address": item.address,
        "entry": item.entry,
        "pad": item.pad,
        "before": item.before.hex(),
        "after": item.after.hex(),
    }


def encode_description(description: Description) -> bytes:
    """Return a description as the JSON text that is kept."""
    return json.dumps(
        {
            "patch_id": description.patch_id.hex(),
            "container": description.container,
            "library": description.library,
            "target_name": description.target_name,
            "build_id": description.build_id.hex(),
            "labels": description.labels,
            "time": description.time,
            "bias": description.bias,
            "end": description.end,
            "functions": [_diversion_to_json(item) for item in description.diversions],
        }
    ).encode("ascii")


def _of(kind: type[_Kind], value: object) -> _Kind:
    """Return a value of just this type: a process can write what it likes into its own record."""
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _address(value: object) -> int:
    number = _of(int, value)
    if not 0 <= number < 1 << 63:  # the upper half is the kernel's
        raise ValueError("an address that cannot be")
    return number


def _bytes(value: object) -> bytes:
    return bytes.fromhex(_of(str, value))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_of(str, item) for item in _of(list, value))


def _diversion_from_json(item: Any) -> Diversion:
    diversion = Diversion(
        name=_of(str, item["name"]),
        function=_address(item["function"]),
        new=_address(item["new"]),
        address=_address(item["address"]),
        entry=_address(item["entry"]),
        pad=_of(bool, item["pad"]),
        before=_bytes(item["before"]),
        after=_bytes(item["after"]),
    )
    _refuse_other_length(diversion.before, diversion.after)
    return diversion


def _refuse_other_length(before: bytes, after: bytes) -> None:
    if len(before) != len(after):
        raise ValueError(f"{len(before)} bytes cannot become {len(after)}")


def _decode_description(text: bytes) -> Description:
    fields = json.loads(text)
    return Description(
        patch_id=_bytes(fields["patch_id"]),
        container=_of(str, fields["container"]),
        library=_of(str, fields["library"]),
        target_name=_of(str, fields["target_name"]),
        build_id=_bytes(fields["build_id"]),
        labels=_texts(fields["labels"]),
        time=_of(float, fields["time"]),
        bias=_of(int, fields["bias"]),
        end=_address(fields["end"]),
        diversions=tuple(_diversion_from_json(item) for item in _of(list, fields["functions"])),
    )


def encode_journal(journal: Journal) -> bytes:
    """Return a journal as the JSON text that is kept."""
    return json.dumps(
        {
            "writes": [
                [w.address, w.before.hex(), w.after.hex(), w.entry, w.pad, w.function]
                for w in journal.writes
            ],
            "marks": [[mark.record, int(mark.state)] for mark in journal.marks],
        }
    ).encode("ascii")


def _decode_journal(text: bytes) -> Journal:
    fields = json.loads(text)
    writes = tuple(
        Write(
            address=_address(address),
            before=_bytes(before),
            after=_bytes(after),
            entry=_address(entry),
            pad=_of(bool, pad),
            function=_of(str, function),
        )
        for address, before, after, entry, pad, function in fields["writes"]
    )
    for item in writes:
        _refuse_other_length(item.before, item.after)
    return Journal(
        writes=writes,
        marks=tuple(Mark(record=_address(record), state=State(state)) for record, state in fields["marks"]),
    )


def write(memory: Memory, address: int, description: Description, *, sequence: int) -> None:
    """Put a record with state PREPARED at an address; until the last write there is none. Raises memory's errors."""
    text = encode_description(description)
    header = _HEADER.pack(
        MAGIC, VERSION, State.PREPARED, sequence, _HEADER.size, len(text), zlib.crc32(text), 0, 0, 0
    )
    memory.write(address, bytes(_HEADER.size))
    memory.write(address + _HEADER.size, text)
    memory.write(address, header)


def pages_for(description: bytes, *, reverted: int = 0) -> int:
    """Return how many pages to keep for a record: room for the journal of a change of several live patches too.

    ``reverted`` is the size of the descriptions of live patches that the first of its changes takes back. Pages that
    are never written cost no memory.
    """
    wanted = _HEADER.size + 6 * len(description) + reverted + 8 * PAGE
    return min(-(-wanted // PAGE), _MOST_PAGES)


def write_journal(memory: Memory, address: int, size: int, journal: Journal) -> None:
    """Put a journal into a record that is not CHANGING; raises Damaged when it does not fit, and memory's errors."""
    start, length = struct.unpack("<II", memory.read(address + _DESCRIPTION_OFFSET, 8))
    text = encode_journal(journal)
    if start + length + len(text) > size:
        raise Damaged(f"it has no room for a journal of {len(text)} bytes")
    memory.write(address + start + length, text)
    memory.write(
        address + _DESCRIPTION_OFFSET + 12, struct.pack("<III", start + length, len(text), zlib.crc32(text))
    )


def write_state(memory: Memory, address: int, state: State) -> None:
    """Write the state word of the record at an address; raises memory's errors."""
    memory.write(address + _STATE_OFFSET, _STATE.pack(state))


def read(memory: Memory, address: int, size: int) -> Record | None:
    """Return the record at an address, None if there is none (yet); raises Damaged, and MemoryGone."""
    try:
        data = memory.read(address, min(size, PAGE))
    except Unreadable:
        return None
    if data[: len(MAGIC)] != MAGIC:
        return None
    _, version, state, sequence, d_at, d_size, d_crc, j_at, j_size, j_crc = _HEADER.unpack_from(data)
    if version != VERSION:
        raise Damaged(f"it was written in format {version}, this ulp reads format {VERSION}")
    if max(d_at + d_size, j_at + j_size) > size:
        raise Damaged("it is longer than its memory")
    try:
        if max(d_at + d_size, j_at + j_size) > len(data):
            data = memory.read(address, max(d_at + d_size, j_at + j_size))
        text = data[d_at : d_at + d_size]
        if zlib.crc32(text) != d_crc:
            raise Damaged("its description has a wrong checksum")
        journal = None
        if state == State.CHANGING:
            journal_text = data[j_at : j_at + j_size]
            if zlib.crc32(journal_text) != j_crc:
                raise Damaged("its journal has a wrong checksum")
            journal = _decode_journal(journal_text)
        return Record(
            address=address,
            size=size,
            state=State(state),
            sequence=sequence,
            description=_decode_description(text),
            journal=journal,
        )
    except (ValueError, KeyError, TypeError, RecursionError, Unreadable) as error:
        raise Damaged(f"its contents cannot be read ({error})") from error


def read_all(memory: Memory, mappings: Iterable[Mapping]) -> tuple[Record, ...]:
    """Return the records of a process, in the order in which they were applied; raises Damaged, MemoryGone."""
    places = blocks(mappings)
    if sum(size for _, size in places) > _MOST_MEMORY:
        raise Damaged(f"it has {len(places)} of them, more than ulp makes")
    records = (read(memory, address, size) for address, size in places)
    return tuple(sorted((r for r in records if r is not None), key=lambda record: record.sequence))
