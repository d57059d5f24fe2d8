# SPDX-License-Identifier: GPL-2.0-or-later
"""Which changes the containers and options of ``ulp trigger`` make, in which order."""

from __future__ import annotations

from ulp.commands.trigger import plan
from ulp.container import Container
from ulp.engines import Change


def container(number: int, *, target: str = "libx.so.1", build: int = 1) -> Container:
    return Container(
        patch_id=bytes([number]) * 32,
        build_id=bytes([build]) * 20,
        target_name=target,
        path=f"/lp/{target}_livepatch{number}.so",
        image=b"",
    )


ONE, TWO, TEN = container(1), container(2), container(10)
OTHER_BUILD = container(4, build=2)
OTHER_LIBRARY = container(3, target="liby.so.2", build=3)


def test_containers_are_applied_oldest_first_and_reverted_newest_first() -> None:
    assert plan([ONE, TWO], revert=False, revert_all="") == ([Change(apply=ONE), Change(apply=TWO)], {})
    taken_back = [Change(revert=(TWO.patch_id,)), Change(revert=(ONE.patch_id,))]
    assert plan([ONE, TWO], revert=True, revert_all="") == (taken_back, {})


def test_revert_all_of_a_library_alone() -> None:
    expected = [Change(revert_library="libx.so.1")]
    assert plan([], revert=False, revert_all="libx.so.1") == (expected, {})
    assert plan([], revert=False, revert_all="/usr/lib64/libx.so.1") == (expected, {})


def test_only_the_latest_for_a_build_replaces_the_others() -> None:
    changes, superseded = plan(
        [ONE, TWO, OTHER_BUILD, TEN, OTHER_LIBRARY], revert=False, revert_all="target"
    )
    assert changes == [
        Change(apply=OTHER_BUILD, revert_target=True),
        Change(apply=TEN, revert_target=True),
        Change(apply=OTHER_LIBRARY, revert_target=True),
    ]
    assert superseded == {ONE.path: TEN.path, TWO.path: TEN.path}


def test_revert_all_of_the_containers_library_by_its_name() -> None:
    changes, superseded = plan([ONE, TWO, OTHER_LIBRARY], revert=False, revert_all="libx.so.1")
    assert changes == [Change(apply=TWO, revert_target=True), Change(apply=OTHER_LIBRARY)]
    assert superseded == {ONE.path: TWO.path}


def test_revert_all_of_another_library_comes_first_and_supersedes_nothing() -> None:
    changes, superseded = plan([ONE, TWO], revert=False, revert_all="liby.so.2")
    assert changes == [Change(revert_library="liby.so.2"), Change(apply=ONE), Change(apply=TWO)]
    assert superseded == {}
