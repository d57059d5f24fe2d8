# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp dump``: text that scripts parse, JSON, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import build_container, build_library
from ulp import container

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    library = build_library(
        tmp_path, "int v; __thread int a, t; int f(void) { return 1; }", name="libbench.so.0"
    )
    return build_container(
        tmp_path,
        "int *p; long i[2]; int g(void) { return 2; }",
        target=library,
        functions={"f": "g"},
        references=["v:p", "%t:i"],
        comments="bsc#1 \x1b[31mred\x07\n\tCVE-2024-2",
        name="libbench_livepatch1.so",
    )


def test_text(ulp: Ulp, packed: Path) -> None:
    found = container.read(packed)
    index, pointer = found.references
    status, out, err = ulp("dump", packed)
    assert (status, err) == (0, "")
    assert out == (
        f"patch id: {found.patch_id.hex()[:40]}\n"
        f"so filename: {packed}\n"
        "\n"
        f"* build id: {found.build_id.hex()}\n"
        "* name: libbench.so.0\n"
        "* units: 1\n"
        "\n"
        "** old_fname: f\n"
        "** new_fname: g\n"
        f"** old_faddr: 0x{found.units[0].old_address:x}\n"
        "\n"
        "static references: 2\n"
        "*** ref_name: i\n"
        f"*** target_offset: {index.target_offset:x}\n"
        f"*** patch_offset: {index.patch_offset:x}\n"
        "*** tls variable: yes\n"
        "\n"
        "*** ref_name: p\n"
        f"*** target_offset: {pointer.target_offset:x}\n"
        f"*** patch_offset: {pointer.patch_offset:x}\n"
        "*** tls variable: no\n"
        "\n"
        "* comments: \n"
        "bsc#1 \\x1b[31mred\\x07\n"
        "\tCVE-2024-2\n"
        "\n"
    )


def test_path_is_the_real_one(ulp: Ulp, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "link.so").symlink_to(packed.name)
    assert f"so filename: {packed}\n" in ulp("dump", tmp_path / "link.so")[1]


def test_build_id_and_revert(ulp: Ulp, packed: Path) -> None:
    build_id = container.read(packed).build_id.hex()
    assert ulp("dump", "-b", packed)[1].startswith(f"{build_id}\n\nstatic references: 2\n*** ref_name: i\n")
    out = ulp("dump", "--revert", packed)[1]
    assert f"* build id: {build_id}\n* name: libbench.so.0\n* units: 0\n\nstatic references: 0\n" in out
    subprocess.run(["objcopy", "--remove-section", ".ulp.rev", packed], check=True)
    assert ulp("dump", packed)[0] == 0
    assert ulp("dump", "--revert", packed)[0] == 65


def test_json(ulp: Ulp, packed: Path) -> None:
    found = container.read(packed)
    status, out, _ = ulp("dump", "--json", packed)
    assert status == 0
    assert json.loads(out) == {
        "schema": "zypp-livepatch/ulp-dump",
        "version": 1,
        "path": str(packed),
        "patch_id": found.patch_id.hex(),
        "target": {"name": "libbench.so.0", "build_id": found.build_id.hex()},
        "functions": [{"old_name": "f", "new_name": "g", "old_address": found.units[0].old_address}],
        "references": [
            {
                "target_name": each.target_name,
                "patch_name": each.patch_name,
                "target_offset": each.target_offset,
                "patch_offset": each.patch_offset,
                "tls": each.tls,
            }
            for each in found.references
        ],
        "dependencies": [],
        "comments": "bsc#1 \x1b[31mred\x07\n\tCVE-2024-2\n",
        "labels": ["bsc#1", "CVE-2024-2"],
    }


def test_what_is_no_container(ulp: Ulp, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.so").write_bytes(packed.read_bytes()[:-1])
    os.mkfifo(tmp_path / "fifo")
    for name, status, words in (
        ("libbench.so.0", 65, "not a live patch container"),
        ("cut.so", 65, "truncated"),
        ("fifo", 65, "a FIFO"),
        ("absent.so", 66, "No such file"),
    ):
        found, out, err = ulp("dump", tmp_path / name)
        assert (found, out) == (status, "")
        assert words in err
        assert "Traceback" not in err
