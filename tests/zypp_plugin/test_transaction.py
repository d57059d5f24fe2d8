# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps of transactions, and packages told apart by what they contain."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.containers import build_container, build_library
from ulp.installed import containers_of
from zypp_plugin.transaction import KERNEL, USERSPACE, BadBody, kind_of, parse_steps


def body(*steps: object) -> bytes:
    return json.dumps({"TransactionStepList": steps}).encode()


def step(name: object = "foo", **more: object) -> dict[str, object]:
    return {"type": "+", "solvable": {"n": name, "v": "1", "r": "2", "a": "noarch"}, **more}


def test_steps_as_libzypp_writes_them() -> None:
    epoch = {
        "type": "M",
        "stage": "ok",
        "solvable": {"n": "bar", "e": 3, "v": "1.0", "r": "5.1", "a": "x86_64"},
    }
    first, second = parse_steps(body(step(), epoch))
    assert (first.action, first.stage, first.name, first.evr, first.arch) == (
        "+",
        "",
        "foo",
        "1-2",
        "noarch",
    )
    assert (second.action, second.stage, second.name, second.evr) == ("M", "ok", "bar", "3:1.0-5.1")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../../etc", "a\0b"])
def test_no_package_name_becomes_another_path(name: str) -> None:
    assert parse_steps(body(step(name))) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"TransactionStepList": 5}',
        b'{"TransactionStepList": [5]}',
        b'{"TransactionStepList": [{}]}',
        b"[" * 100_000,
        b"\xff",
        body(step(5)),
        body({"type": "+", "solvable": "foo"}),
        body({"type": 1, "solvable": {"n": "foo"}}),
    ],
)
def test_a_body_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(BadBody, match="not a list of transaction steps"):
        parse_steps(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "solvable", "stage", "n", "v", "r", "a", "e"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_steps_or_refused(value: object) -> None:
    try:
        parse_steps(json.dumps({"TransactionStepList": value}).encode())
    except BadBody:
        pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kernel-livepatch-6_4_0-150600_9-default", KERNEL),
        ("kernel-livepatch-5_14_21-150400_24_33-rt", KERNEL),
        ("kgraft-patch-3_12_51-52_39-default", KERNEL),
        ("kernel-livepatch-6_12_0-160000_5-64kb", KERNEL),
        ("kernel-livepatch-6_12_95+deb12-cloud-amd64", KERNEL),  # no kernel of SUSE's
        ("kernel-livepatch-6_18_44-fc-v595", KERNEL),
        ("kernel-livepatch-tools", ""),
        ("kernel-livepatch-tools-devel", ""),
        ("kernel-livepatch-SLE15-SP6_Update_2-debugsource", ""),
        ("kernel-livepatch-6_4_0-150600_9-default-debuginfo", ""),
        ("kernel-default-livepatch", ""),
        ("kernel-livepatch-6_4_0-150600_9-default-extra", ""),
        ("glibc-livepatches", USERSPACE),
        ("bash", ""),
    ],
)
def test_kinds_by_name(tmp_path: Path, name: str, kind: str) -> None:
    assert kind_of(name, root=str(tmp_path)) == kind


def test_containers_make_the_kind_whatever_the_name(tmp_path: Path) -> None:
    place = tmp_path / "usr/lib64/some-fixes/1.0/deep"
    place.mkdir(parents=True)
    library = build_library(tmp_path, "int answer(void) { return 1; }")
    (place / "ordinary.so").write_bytes(library.read_bytes())
    (place / "garbage.so").write_bytes(b"\x7fELF\x02\x01 and no more")
    (place / "link.so").symlink_to(library)
    assert kind_of("some-fixes", root=str(tmp_path)) == ""
    build_container(
        place,
        "int new_answer(void) { return 2; }",
        target=library,
        functions={"answer": "new_answer"},
        name="x.so",
    )
    assert kind_of("some-fixes", root=str(tmp_path)) == USERSPACE
    assert list(containers_of("some-fixes", root=str(tmp_path))) == ["/usr/lib64/some-fixes/1.0/deep/x.so"]


def test_a_directory_that_is_no_end_of_files_does_not_hold_up(tmp_path: Path) -> None:
    place = tmp_path / "usr/lib64/huge"
    place.mkdir(parents=True)
    for number in range(5000):
        (place / f"{number}.so").touch()
    (place / "loop").symlink_to(place)
    began = time.process_time()
    assert kind_of("huge", root=str(tmp_path)) == ""
    assert time.process_time() - began < 2


def test_two_thousand_ordinary_packages_cost_hardly_anything(tmp_path: Path) -> None:
    (tmp_path / "usr/lib64").mkdir(parents=True)
    data = body(*(step(f"package-{number}") for number in range(2000)))
    began = time.process_time()
    assert not any(kind_of(each.name, root=str(tmp_path)) for each in parse_steps(data))
    assert time.process_time() - began < 0.25
