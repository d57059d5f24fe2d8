# SPDX-License-Identifier: GPL-2.0-or-later
"""Which live patches later processes get: out of a real rpm database and files under a root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from host import exclusions
from tests.support import rpmroot, rpms
from tests.support.containers import build_container, build_library
from ulp.watch.supply import Shop, read


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three live patches for one library build."""
    place = tmp_path_factory.mktemp("containers")
    library = build_library(place, "int answer(void) { return 1; }", name="liba.so.1")
    return [
        build_container(
            place,
            f"int fixed(void) {{ return {n}; }}",
            target=library,
            functions={"answer": "fixed"},
            name=f"liba_livepatch{n}.so",
        )
        for n in (1, 2, 10)
    ]


@pytest.fixture
def root(tmp_path: Path, containers: list[Path]) -> Path:
    """A root with two of them in packages."""
    specs = [
        rpms.livepatch_spec(f"{name}-livepatches", [path])
        for name, path in zip("ab", containers, strict=False)
    ]
    built = rpms.build(specs, into=tmp_path / "out", work=tmp_path / "build")
    place = rpmroot.create(tmp_path / "root")
    words = ["rpm", f"--root={place}", "--install", "--nodeps", "--nosignature", *map(str, built)]
    subprocess.run(words, check=True, capture_output=True)
    return place


def names(root: Path) -> list[str]:
    return [Path(each.path).name for each in read(root=str(root)).containers.values()]


def test_the_newest_of_all_packages(root: Path, containers: list[Path]) -> None:
    assert names(root) == ["liba_livepatch2.so"]
    assert read(root=str(root)).problems == ()
    stranger = root / "usr/lib64/a-livepatches/1" / containers[2].name
    stranger.write_bytes(containers[2].read_bytes())
    assert names(root) == ["liba_livepatch2.so"]
    [problem] = read(root=str(root)).problems
    assert problem == "/usr/lib64/a-livepatches/1/liba_livepatch10.so: no installed package has put it there"


@pytest.mark.parametrize(
    ("path", "text", "left"),
    [
        ("etc/sysconfig/livepatching", "LIVEPATCH_B=never\n", ["liba_livepatch1.so"]),
        (f"{exclusions.DIRECTORY}/a.conf", "package = b-*\n", ["liba_livepatch1.so"]),
        (f"{exclusions.DIRECTORY}/a.conf", "package b\n", []),
        ("etc/zypp-livepatch.conf", "[trust]\nsignature = yes\n", []),
        ("etc/zypp-livepatch.conf", "[trust\n", []),
    ],
)
def test_what_the_administrator_says_counts_at_once(
    root: Path, path: str, text: str, left: list[str]
) -> None:
    shop = Shop(root=str(root))
    assert shop.refresh() and not shop.refresh()
    assert len(shop.supply.containers) == 1
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    assert shop.refresh() and not shop.refresh()
    assert [Path(each.path).name for each in shop.supply.containers.values()] == left
    assert bool(shop.supply.problems) == (not left)


def test_a_change_of_packages_is_seen(root: Path) -> None:
    shop = Shop(root=str(root))
    shop.refresh()
    subprocess.run(["rpm", f"--root={root}", "--erase", "b-livepatches"], check=True, capture_output=True)
    assert shop.refresh()
    assert [Path(each.path).name for each in shop.supply.containers.values()] == ["liba_livepatch1.so"]


def test_without_a_database_nothing_is_applied(tmp_path: Path) -> None:
    supply = read(root=str(tmp_path))
    assert supply.containers == {} and not supply.usable
    assert "there is no rpm database" in supply.problems[0]
