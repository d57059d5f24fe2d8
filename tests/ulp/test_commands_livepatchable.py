# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp livepatchable``: which engine can patch a file, and what a live patch is told apart by."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import build_container, build_library
from ulp import container

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp

SOURCE = "int f(void) { return 1; }"


def answer(ulp: Ulp, path: Path) -> tuple[int, bool, str]:
    """Exit status, whether libpulp can, what keeps the direct engine from it; text and JSON must agree."""
    status, out, _ = ulp("livepatchable", "--json", path)
    value = json.loads(out)
    assert (value["schema"], value["version"]) == ("zypp-livepatch/ulp-livepatchable", 1)
    assert value["direct"] == (not value["direct_obstacle"])
    text_status, text, err = ulp("livepatchable", path)
    assert text_status == status
    not_livepatchable = "not livepatchable: Missing __patchable_function_entries section."
    assert err == f"ulp: file '{path}' is {'livepatchable.' if value['libpulp'] else not_livepatchable}\n"
    assert f"{path}: the direct engine {'can' if value['direct'] else 'cannot'} patch it" in text
    assert value["direct_obstacle"] in text
    assert ulp("livepatchable", "-q", path) == (status, "", "")
    return status, value["libpulp"], value["direct_obstacle"]


def program(tmp_path: Path, *flags: str) -> Path:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-o", tmp_path / "main", tmp_path / "main.c", *flags], check=True)
    return tmp_path / "main"


def test_library_with_space_for_live_patches(ulp: Ulp, tmp_path: Path) -> None:
    assert answer(ulp, build_library(tmp_path, SOURCE, pads=True)) == (0, True, "")
    assert answer(ulp, build_library(tmp_path, SOURCE, pads=True, flags=["-s"])) == (0, True, "")


def test_ordinary_library(ulp: Ulp, tmp_path: Path) -> None:
    assert answer(ulp, build_library(tmp_path, SOURCE)) == (1, False, "")


def test_without_build_id_no_process_can_be_matched(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE, flags=["-Wl,--build-id=none"])
    assert answer(ulp, path) == (1, False, "it has no build-id, by which processes are matched")


@pytest.mark.parametrize("flags", [("-pie",), ("-no-pie",)])
def test_program(ulp: Ulp, tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert answer(ulp, program(tmp_path, "-Wl,--build-id=sha1", *flags)) == (1, False, "")


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie",)])
def test_static_program(ulp: Ulp, tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = program(tmp_path, "-Wl,--build-id=sha1", *flags)
    assert answer(ulp, path) == (1, False, "it is statically linked")


def test_other_machine(ulp: Ulp, tmp_path: Path) -> None:
    path = build_library(tmp_path, SOURCE)
    image = bytearray(path.read_bytes())
    image[18] = 183
    path.write_bytes(image)
    assert answer(ulp, path) == (1, False, "it is not for x86_64")


def test_live_patch_container(ulp: Ulp, tmp_path: Path) -> None:
    library = build_library(tmp_path, SOURCE)
    path = build_container(
        tmp_path, "int g(void) { return 2; }", target=library, functions={"f": "g"}, comments="bsc#9"
    )
    found = container.read(path)
    target = f"libtarget.so.0, build-id {found.build_id.hex()}"
    status, out, _ = ulp("livepatchable", path)
    assert status == 1
    assert f"{path}: it is itself a live patch container, for {target}\n" in out
    assert json.loads(ulp("livepatchable", "--json", path)[1])["container"] == {
        "patch_id": found.patch_id.hex(),
        "target": {"name": "libtarget.so.0", "build_id": found.build_id.hex()},
        "functions": ["f"],
        "labels": ["bsc#9"],
    }


def test_what_does_not_run(ulp: Ulp, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    build_library(tmp_path, SOURCE, name="object.o", flags=["-c"])
    for name, status, words in (
        ("text", 65, "not an ELF file"),
        ("object.o", 65, "neither a library nor a program"),
        ("absent", 66, "No such file"),
        (".", 65, "a directory"),
    ):
        found, out, err = ulp("livepatchable", tmp_path / name)
        assert (found, out) == (status, "")
        assert words in err
