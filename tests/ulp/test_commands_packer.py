# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp packer``: its words, its output and its exit status."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import build_library
from tests.support.libpulp import libpulp, needs_libpulp
from ulp import container

if TYPE_CHECKING:
    from tests.ulp.conftest import Ulp


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A description whose files are there."""
    library = build_library(tmp_path, "int variable; int answer(void) { return 1; }")
    patch = build_library(tmp_path, "int *pointer; int new_answer(void) { return 2; }", name="patch.so")
    path = tmp_path / "patch.dsc"
    path.write_text(f"! CVE-2024-1\n{patch}\n@{library}\nanswer:new_answer\n#variable:pointer\n")
    return path


def test_success(ulp: Ulp, described: Path) -> None:
    status, out, err = ulp("packer", described)
    found = container.read(described.with_name("patch.so"))
    assert (status, out) == (0, "")
    assert err == "ulp: metadata successfully embedded into livepatch container\n"
    assert found.labels == ("CVE-2024-1",)


def test_quiet_and_verbose(ulp: Ulp, described: Path) -> None:
    assert ulp("packer", "-q", described) == (0, "", "")
    status, out, _ = ulp("packer", described, "-v")
    unit = container.read(described.with_name("patch.so")).units[0]
    assert status == 0
    assert f"answer at {unit.old_address:#x} -> new_answer\n" in out
    assert "pointer -> variable at 0x" in out
    patch = container.read(described.with_name("patch.so"))
    assert out.endswith(
        f"{patch.path} is a live patch for libtarget.so.0, build-id {patch.build_id.hex()}\n"
    )


def test_other_paths(ulp: Ulp, described: Path, tmp_path: Path) -> None:
    described.write_text("/nowhere/a.so\n@/nowhere/b.so\nanswer:new_answer\n")
    patch, library = tmp_path / "patch.so", tmp_path / "libtarget.so.0"
    assert ulp("packer", described, "-l", patch, f"--target={library}", "-o", "ignored")[0] == 0
    assert container.read(patch).target_name == "libtarget.so.0"
    assert not Path("ignored").exists()


def test_mistakes_go_to_standard_output_in_the_form_of_gcc(
    ulp: Ulp, described: Path, tmp_path: Path
) -> None:
    text = described.read_text().replace("answer:new_answer", "answer:nonew\nabsent:new_answer")
    described.write_text(text)
    status, out, err = ulp("packer", described)
    assert status == 65
    assert out == (
        f"{described}:4:8: error: symbol nonew is not present in {tmp_path}/patch.so\n"
        "answer:nonew\n"
        "       ^~~~~\n"
        f"{described}:5:1: error: symbol absent is not present in {tmp_path}/libtarget.so.0\n"
        "absent:new_answer\n"
        "^~~~~~\n"
    )
    said = f"2 mistakes in {described}, no container was made"
    assert err == f"ulp: metadata file generation failed. {said}\n"
    assert not container.is_container(tmp_path / "patch.so")


def test_hostile_text_does_not_reach_the_terminal(ulp: Ulp, described: Path) -> None:
    described.write_bytes(described.read_bytes().replace(b"answer:new", b"\x1b]0;owned\x07:new\xff"))
    status, out, _ = ulp("packer", described)
    assert status == 65
    assert r"\x1b]0;owned\x07:new\xff" in out
    assert "\x1b" not in out and "\x07" not in out


@pytest.mark.parametrize(("name", "status"), [("absent.dsc", 66), (".", 65), ("patch.so", 65)])
def test_descriptions_that_are_none(
    ulp: Ulp, described: Path, tmp_path: Path, name: str, status: int
) -> None:
    found, _, err = ulp("packer", tmp_path / name)
    assert found == status
    assert err.count("\n") == 1


@needs_libpulp
def test_libpulp_says_it_in_the_same_words(ulp: Ulp, described: Path) -> None:
    """Without the time that libpulp puts first; of several mistakes it knows the first."""
    for new in ("new_answer", "nonew"):
        described.write_text(described.read_text().replace("new_answer", new))
        _, out, err = ulp("packer", described)
        theirs = libpulp("packer", described)
        assert out == theirs.stdout
        said = re.sub(r"^\[[-0-9: ]+\] ", "", theirs.stderr).rstrip("\n")
        assert said and err.startswith(said)


def test_words(ulp: Ulp, described: Path) -> None:
    assert ulp("packer")[0] == 64
    assert ulp("packer", described, described)[0] == 64
