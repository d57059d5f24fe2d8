# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of functions that libpulp diverts: compiled ones, and what does not look like one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.containers import PADS
from ulp.arch.x86_64_pulp import PAD, is_patchable, is_prologue

ENDBR64 = bytes.fromhex("f30f1efa")
PADDING = b"\x90" * PAD
JUMP = bytes.fromhex("ff2500000000") + (0x7F0000001000).to_bytes(8, "little")
DIVERTED = JUMP + b"\xeb\xf0"
DIVERTED_ENDBR64 = JUMP + ENDBR64 + b"\xeb\xec"


@pytest.mark.parametrize("flag", ["-fcf-protection=none", "-fcf-protection=branch"])
def test_what_the_compiler_makes_is_patchable(tmp_path: Path, flag: str) -> None:
    code = tmp_path / "code.bin"
    words = ["gcc", "-O2", PADS, flag, "-c", "-x", "c", "-", "-o", str(tmp_path / "code.o")]
    subprocess.run(words, input=b"long answer(long n) { return n * n; }", check=True)
    words = ["objcopy", "-O", "binary", "-j", ".text", str(tmp_path / "code.o"), str(code)]
    subprocess.run(words, check=True)
    text = code.read_bytes()
    assert text.startswith(PADDING)
    assert is_patchable(text[PAD : PAD + 6])
    diverted = DIVERTED_ENDBR64 if ENDBR64 in text else DIVERTED
    assert is_prologue(text[: len(diverted)], diverted)
    assert is_prologue(diverted, diverted)
    assert is_patchable(diverted[PAD:])


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (PADDING + b"\x55\x48", DIVERTED),  # an ordinary function
        (PADDING + b"\x90\x90" + bytes(4), DIVERTED_ENDBR64),  # no ENDBR64 there
        (PADDING + ENDBR64 + b"\x90\x90", DIVERTED),  # would overwrite the ENDBR64
        (PADDING + b"\x90\x90", PADDING + b"\xeb\xf0"),  # no jump
        (PADDING + b"\x90\x90", DIVERTED[:-1]),
        (b"\x55\x48", b"\x66\x90"),
        (b"\x90\x90", b"\x0f\x05"),
    ],
)
def test_foreign_code_is_no_prologue(now: bytes, then: bytes) -> None:
    assert not is_prologue(now, then)


@given(now=st.binary(max_size=24), then=st.binary(max_size=24))
def test_bytes_of_any_kind_raise_nothing(now: bytes, then: bytes) -> None:
    assert is_prologue(now, then) in (True, False)
    assert is_patchable(now) in (True, False)
