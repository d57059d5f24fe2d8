# SPDX-License-Identifier: GPL-2.0-or-later
"""Names lead to one symbol or to a reason, in a library as in the JSON about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError
from tests.support.containers import build_library
from ulp.library import Library, SymbolError, from_json, read_library

SOURCE = """
#include <stdlib.h>
__thread int first_thread_local;
int exported(void) { return 1; }
static __attribute__((used)) int private(void) { return 2; }
__asm__(".symver old_name, versioned@V1"); __asm__(".symver new_name, versioned@@V2");
int old_name(void) { return 3; } int new_name(void) { return 4; }
void *uses(void) { return malloc(1); }
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "script").write_text(
        "V1 { global: exported; uses; first_thread_local; versioned; local: *; }; V2 { global: versioned; } V1;"
    )
    return build_library(
        tmp_path, SOURCE, name="libthis.so.3", flags=[f"-Wl,--version-script={tmp_path / 'script'}"]
    )


def as_extract(library: Library) -> bytes:
    """What ``ulp extract`` writes."""
    symbols = [
        {
            "name": each.name,
            "offset": each.value,
            "size": each.size,
            "st_info": each.info,
            "st_other": each.other,
        }
        for table in (library.exported, library.private)
        for symbols in table.values()
        for each in symbols
    ]
    symbols.append({"name": "malloc", "offset": 0, "size": 0, "st_info": 0x12, "st_other": 0})
    return json.dumps(
        {"library": {"name": library.name, "buildid": library.build_id.hex(), "symbols": symbols}}
    ).encode()


def test_library(library: Path) -> None:
    found = read_library(str(library))
    assert found.name == "libthis.so.3"
    assert len(found.build_id) == 20
    assert found.symbol("exported").value > 0
    assert found.symbol("private").value > 0
    assert found.symbol("first_thread_local").value == 0
    assert (
        found.symbol("versioned").value == found.symbol("new_name").value != found.symbol("old_name").value
    )


@pytest.mark.parametrize("name", ["absent", "malloc", ""])
def test_names_that_are_not_defined(library: Path, name: str) -> None:
    with pytest.raises(SymbolError, match=rf"symbol {name} is not present in .*libthis\.so\.3"):
        read_library(str(library)).symbol(name)


def test_private_name_twice_is_ambiguous(tmp_path: Path) -> None:
    other = tmp_path / "other.c"
    other.write_text("static __attribute__((used)) int twice(void) { return 1; }")
    path = build_library(
        tmp_path, "static __attribute__((used)) int twice(void) { return 2; }", flags=[str(other)]
    )
    with pytest.raises(SymbolError, match=r"defined more than once .* at 0x"):
        read_library(str(path)).symbol("twice")


def test_json_of_extract_says_the_same(library: Path, tmp_path: Path) -> None:
    found = read_library(str(library))
    (tmp_path / "this.json").write_bytes(as_extract(found))
    other = read_library(str(tmp_path / "this.json"))
    assert (other.name, other.build_id) == (found.name, found.build_id)
    for name in ("exported", "private", "first_thread_local"):
        assert other.symbol(name).value == found.symbol(name).value
        assert other.symbol(name).type == found.symbol(name).type
    with pytest.raises(SymbolError):
        other.symbol("malloc")


SYMBOL = {"name": "f", "offset": 1, "size": 1, "st_info": 18, "st_other": 0}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"library": None},
        {"library": {"name": "x", "buildid": "xyz", "symbols": []}},
        {"library": {"name": "x", "buildid": 7, "symbols": []}},
        {"library": {"name": "x", "buildid": "00", "symbols": 3}},
        {"library": {"name": "x", "buildid": "00", "symbols": [3]}},
        {"library": {"name": "x", "buildid": "00", "symbols": [SYMBOL | {"offset": -1}]}},
        {"library": {"name": "x", "buildid": "00", "symbols": [SYMBOL | {"offset": "1"}]}},
        {"library": {"name": "x", "buildid": "00", "symbols": [SYMBOL | {"name": 1}]}},
    ],
)
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(BadDataError, match="neither an ELF file nor the JSON"):
        from_json(json.dumps(value).encode(), path="x.json")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100000, b"1" * 10000])
def test_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(BadDataError, match="neither an ELF file nor the JSON"):
        from_json(data, path="x.json")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["library", "name", "buildid", "symbols", "offset", "size", "st_info", "st_other"]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_refused_or_read(value: object) -> None:
    try:
        from_json(json.dumps({"library": value}).encode(), path="x.json")
    except BadDataError:
        pass
