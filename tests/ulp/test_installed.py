# SPDX-License-Identifier: GPL-2.0-or-later
"""Real containers in the directories of a root: what is found, once, and what is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from host.errors import BadDataError, NoInputError
from tests.support.containers import build_container, build_library
from tests.support.users import ordinary_user
from ulp.installed import containers_of, find, number


@pytest.fixture(name="containers", scope="module")
def _containers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("containers")
    library = build_library(place, "int answer(void) { return 1; }")
    return [
        build_container(
            place,
            f"int new_answer(void) {{ return {count}; }}",
            target=library,
            functions={"answer": "new_answer"},
            name=f"libtarget_livepatch{count}.so",
        )
        for count in (2, 3, 10)
    ]


def put(file: Path, root: Path, where: str) -> str:
    place = root / where / file.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)
    return str(place)


def test_everywhere_and_each_live_patch_once(tmp_path: Path, containers: list[Path]) -> None:
    two, three, ten = containers
    expected = [
        put(ten, tmp_path, "usr/lib64/glibc-livepatches/0.3"),
        put(two, tmp_path, "usr/lib64/other"),
        put(three, tmp_path, "var/livepatches/glibc-livepatches/0.4/lp"),
    ]
    put(ten, tmp_path, "var/livepatches/glibc-livepatches/0.3/lp")
    put(two, tmp_path, "usr/lib64")  # no package has files of its own here
    put(two, tmp_path, "usr/lib")
    (tmp_path / "usr/lib64/link").symlink_to("other")
    (tmp_path / "usr/lib64/glibc-livepatches/README.so").write_text("no library")
    found, problems = find(str(tmp_path))
    assert [container.path for container in found] == expected
    assert problems == ()
    assert list(containers_of("glibc-livepatches", root=str(tmp_path))) == [
        "/usr/lib64/glibc-livepatches/0.3/libtarget_livepatch10.so"
    ]


def test_nothing_is_installed(tmp_path: Path) -> None:
    assert find(str(tmp_path)) == ((), ())
    with pytest.raises(NoInputError, match="there is no directory /nonexistent"):
        find("/nonexistent")


def test_a_damaged_container_is_told_and_the_others_are_read(tmp_path: Path, containers: list[Path]) -> None:
    good = put(containers[0], tmp_path, "usr/lib64/x-livepatches/1")
    bad = put(containers[1], tmp_path, "usr/lib64/x-livepatches/1")
    data = Path(bad).read_bytes()
    (target,) = [start for start in range(len(data)) if data.startswith(b"libtarget.so.0\0", start)][
        -1:
    ]  # the name in .ulp
    Path(bad).write_bytes(data[:target] + b"\xff" * 14 + data[target + 14 :])
    found, problems = find(str(tmp_path))
    assert [container.path for container in found] == [good]
    (problem,) = problems
    assert isinstance(problem, BadDataError) and problem.sentence.startswith(f"{bad}: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_may_not_be_read_is_told_where_it_is_a_live_patchs(
    tmp_path_factory: pytest.TempPathFactory, containers: list[Path]
) -> None:
    from tests.support.targets import workshop

    root = workshop() / "closed"
    file = Path(put(containers[0], root, "usr/lib64/x-livepatches/1"))
    file.chmod(0o600)
    for name in ("y-livepatches", "polkit-1"):
        put(containers[1], root, f"usr/lib64/{name}")
        (root / "usr/lib64" / name).chmod(0o700)
    words = (
        f"from ulp.installed import find; found, problems = find({str(root)!r}); "
        "print(found, *sorted(problem.sentence for problem in problems), sep='\\n')"
    )
    said = subprocess.run(
        [*ordinary_user(), sys.executable, "-c", words], capture_output=True, text=True, check=True
    ).stdout
    assert said == (f"()\n{file}: Permission denied\n{root}/usr/lib64/y-livepatches: Permission denied\n")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/x/libc_2.38-150600.14.5.1_livepatch12.so", 12),
        ("lib_livepatch3.so.0.0.0", 3),
        ("/livepatch7.so/lib.so", 0),
        ("lib_livepatch.so", 0),
    ],
)
def test_number(path: str, expected: int) -> None:
    assert number(path) == expected
