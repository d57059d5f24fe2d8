# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of ``.ulp``, ``.ulp.rev`` and ``.ulp.comments``, as the documented format has them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError
from ulp.container_format import (
    Metadata,
    Reference,
    Unit,
    decode,
    encode_apply,
    encode_comments,
    encode_revert,
)

PATCH_ID = bytes(range(32))
BUILD_ID = bytes(range(100, 120))
EXAMPLE = Metadata(
    patch_id=PATCH_ID,
    build_id=BUILD_ID,
    target_name="libbench.so.0",
    units=(
        Unit(old_name="bench_value", new_name="new_bench_value", old_address=0x111E),
        Unit(old_name="f", new_name="g", old_address=0),
    ),
    references=(
        Reference(target_name="ti", patch_name="ti_ref", target_offset=0, patch_offset=0x4020, tls=True),
        Reference(
            target_name="data", patch_name="data_ref", target_offset=0xFFFFFFFFFFFFFFFF, patch_offset=0
        ),
    ),
    dependencies=(bytes(32),),
    comments=" bsc#1\n",
)
# Written down by hand from the format's description, not with the code under test.
APPLY = (
    b"\x01"
    + PATCH_ID
    + b"\x14\x00\x00\x00"
    + BUILD_ID
    + b"\x0e\x00\x00\x00libbench.so.0\x00"
    + b"\x02\x00\x00\x00"
    + b"\x0c\x00\x00\x00bench_value\x00"
    + b"\x10\x00\x00\x00new_bench_value\x00"
    + b"\x1e\x11\x00\x00\x00\x00\x00\x00"
    + b"\x02\x00\x00\x00f\x00"
    + b"\x02\x00\x00\x00g\x00"
    + b"\x00\x00\x00\x00\x00\x00\x00\x00"
    + b"\x01\x00\x00\x00"
    + b"\x00" * 32
    + b"\x02\x00\x00\x00"
    + b"\x03\x00\x00\x00ti\x00"
    + b"\x07\x00\x00\x00ti_ref\x00"
    + b"\x00\x00\x00\x00\x00\x00\x00\x00"
    + b"\x20\x40\x00\x00\x00\x00\x00\x00"
    + b"\x01"
    + b"\x05\x00\x00\x00data\x00"
    + b"\x09\x00\x00\x00data_ref\x00"
    + b"\xff\xff\xff\xff\xff\xff\xff\xff"
    + b"\x00\x00\x00\x00\x00\x00\x00\x00"
    + b"\x00"
)
REVERT = b"\x02" + PATCH_ID + b"\x14\x00\x00\x00" + BUILD_ID + b"\x0d\x00\x00\x00libbench.so.0"


def test_bytes_are_those_of_the_format() -> None:
    assert encode_apply(EXAMPLE) == APPLY
    assert encode_revert(EXAMPLE) == REVERT
    assert encode_comments(EXAMPLE) == b" bsc#1\n\x00"


def test_bytes_of_the_format_are_read() -> None:
    assert decode(APPLY, revert=REVERT, comments=b" bsc#1\n\x00", path="x") == EXAMPLE


names = st.text("abcXYZ019_.@:$ \u00e4\u03a9\U0001f600", min_size=1, max_size=20)
words = st.integers(0, 2**64 - 1)
units = st.builds(Unit, old_name=names, new_name=names, old_address=words)
references = st.builds(
    Reference,
    target_name=names,
    patch_name=names,
    target_offset=words,
    patch_offset=words,
    tls=st.booleans(),
)


@given(
    st.builds(
        Metadata,
        patch_id=st.binary(min_size=32, max_size=32),
        build_id=st.binary(min_size=20, max_size=20),
        target_name=names,
        units=st.lists(units, min_size=1, max_size=4).map(tuple),
        references=st.lists(references, max_size=4).map(tuple),
        dependencies=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
        comments=st.binary(max_size=50).map(
            lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
        ),
    )
)
def test_round_trip(metadata: Metadata) -> None:
    revert, comments = encode_revert(metadata), encode_comments(metadata)
    assert decode(encode_apply(metadata), revert=revert, comments=comments, path="x") == metadata


def put(offset: int, value: bytes) -> bytes:
    return APPLY[:offset] + value + APPLY[offset + len(value) :]


@pytest.mark.parametrize(
    ("apply", "sentence"),
    [
        (b"", "its type reaches beyond its end"),
        (put(0, b"\x02"), "of type 2 instead of 1"),
        (put(33, b"\x10"), "a build-id of 16 instead of 20 bytes"),
        (put(33, b"\xff\xff\xff\xff"), "a build-id of 4294967295"),
        (put(57, b"\xff\xff\xff\xff"), "the target's name reaches beyond"),
        (put(57, b"\0\0\0\0"), "does not end in NUL"),
        (put(74, b"x"), "does not end in NUL"),
        (put(61, b"\0"), "unprintable"),
        (put(61, b"\x1b"), "unprintable"),
        (put(61, b"\xff"), "not UTF-8"),
        (put(61, b"\xed\xa0\x80"), "not UTF-8"),
        (put(61, b"/"), "path instead of a basename"),
        (put(75, b"\xff\xff\xff\xff"), "no room for 4294967295 functions"),
        (put(75, b"\0\0\0\0"), ""),
        (APPLY[:-1] + b"\x02", "TLS mark of a reference is 2"),
        (APPLY + b"\0", "1 bytes too many"),
        (APPLY[:-1], "reaches beyond its end"),
    ],
)
def test_damage_is_named(apply: bytes, sentence: str) -> None:
    with pytest.raises(BadDataError, match=f"^some/file: its .ulp section is damaged: .*{sentence}"):
        decode(apply, path="some/file")


def test_a_container_may_change_nothing() -> None:
    nothing = decode(APPLY[:75] + struct.pack("<III", 0, 0, 0), path="x")
    assert (nothing.units, nothing.references) == ((), ())


def test_references_alone_are_enough() -> None:
    at = APPLY.index(b"\x01\x00\x00\x00" + bytes(32))
    alone = APPLY[:75] + b"\0\0\0\0" + APPLY[at:]
    assert len(decode(alone, path="x").references) == 2


@pytest.mark.parametrize(
    "revert", [b"", REVERT[:-1], REVERT + b"\0", b"\1" + REVERT[1:], REVERT.replace(b"b", b"c")]
)
def test_damaged_revert_section(revert: bytes) -> None:
    with pytest.raises(BadDataError, match=r"its \.ulp\.rev section is damaged"):
        decode(APPLY, revert=revert, path="x")
