# SPDX-License-Identifier: GPL-2.0-or-later
"""Branches from elsewhere into a function's first bytes: those that are there, and what only looks like one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.containers import build_library
from tests.support.images import mapped
from ulp.elf import Elf
from ulp.engines.direct.branches import cold_parts, entered_from
from ulp.image import Image, image_at

BIAS = 0x7F00_0000_0000
# FAR is how far the intruder lies from the function: near enough for a short branch, or not
SOURCE = """
__asm__(".text; .p2align 12; .globl entered; .type entered,@function\\n"
        "entered: .cfi_startproc; nop; first: nop; nop; nop; last: nop; behind: nop; ret; .cfi_endproc\\n"
        ".size entered,.-entered; .skip FAR,0xcc\\n"
        ".globl intruder; .type intruder,@function\\n"
        "intruder: CFI_START BODY; ret; CFI_END .size intruder,.-intruder; .skip 300,0xcc");
"""


def image_of(place: Path, body: str, *, far: int, cfi: bool = True) -> Image:
    text = SOURCE.replace("FAR", str(far)).replace("BODY", body)
    text = text.replace("CFI_START", ".cfi_startproc;" if cfi else "").replace(
        "CFI_END", ".cfi_endproc;" if cfi else ""
    )
    library = build_library(place, text)
    return image_at(mapped(library.read_bytes(), BIAS), BIAS, {})


def ask(image: Image, name: str = "entered", *, own: range | None = None) -> int | None:
    symbol = image.symbols.find(name)
    assert symbol is not None
    inside = range(symbol.value + 1, symbol.value + 5)
    return entered_from(image, inside, own=own or range(symbol.value, symbol.value + symbol.size))


def value(image: Image, name: str) -> int:
    symbol = image.symbols.find(name)
    assert symbol is not None
    return symbol.value


@pytest.mark.parametrize("far", [20, 100, 1000, 100_000])
@pytest.mark.parametrize("target", ["first", "last"])
@pytest.mark.parametrize("branch", ["jmp", "jne", "xor %eax,%eax; je"])
def test_a_branch_into_the_first_bytes(tmp_path: Path, far: int, target: str, branch: str) -> None:
    image = image_of(tmp_path, f"{branch} {target}", far=far)
    assert ask(image) == value(image, "intruder")


@pytest.mark.parametrize("far", [20, 1000])
@pytest.mark.parametrize("target", ["entered", "behind"])
def test_branches_to_the_start_and_behind_the_first_bytes_are_fine(
    tmp_path: Path, far: int, target: str
) -> None:
    assert ask(image_of(tmp_path, f"jmp {target}", far=far)) is None


@pytest.mark.parametrize("far", [20, 1000])
def test_branches_of_the_function_itself_are_not_asked_for(tmp_path: Path, far: int) -> None:
    image = image_of(tmp_path, "jmp first", far=far)
    start = value(image, "entered")
    assert ask(image, own=range(start, start + far + 200)) is None


@pytest.mark.parametrize("far", [20, 1000])
def test_what_only_looks_like_a_branch(tmp_path: Path, far: int) -> None:
    """The bytes of a jump within an immediate operand of the same instruction lead nowhere."""
    shape: Callable[[int], str] = lambda distance: (  # noqa: E731
        ".byte 0x48,0xb8,0xe9" + "".join(f",{byte:#x}" for byte in struct.pack("<i", distance)) + ",0,0,0"
    )
    # the operand begins at intruder + 3; first is at entered + 1; entered has 7 bytes
    distance = 1 - (7 + far + 3 + 4)
    assert ask(image_of(tmp_path, shape(distance), far=far)) is None
    # decoded from its second byte on, it would be one: without a table, nobody can tell
    image = image_of(tmp_path, shape(distance), far=far, cfi=False)
    assert ask(image) == value(image, "intruder") + 2


def test_code_that_cannot_be_decoded_counts(tmp_path: Path) -> None:
    image = image_of(tmp_path, ".byte 0x06; jmp first", far=1000)
    assert ask(image) == value(image, "intruder")


def test_the_answer_is_remembered_per_image(tmp_path: Path) -> None:
    image = image_of(tmp_path, "jmp first", far=1000)
    assert ask(image) == ask(image) == value(image, "intruder")
    (tmp_path / "other").mkdir()
    assert ask(image_of(tmp_path / "other", "jmp behind", far=1000)) is None


SPLIT = """
int tail(int n);
__attribute__((noipa)) int tail(int n) { return n + 1; }
static __attribute__((noipa, cold)) void complain(void) { __asm__ volatile(""); }
int split(int n);
int split(int n) { if (n > 9) { complain(); n = 9; } return n * 7; }
int whole(int n);
int whole(int n) { return tail(n + 3); }
"""


def test_cold_parts(tmp_path: Path) -> None:
    """The compiler's symbols say where they are; what a function calls last is no part of it."""
    library = build_library(tmp_path, SPLIT)
    image = image_at(mapped(library.read_bytes(), BIAS), BIAS, {})
    symbols = {symbol.name: symbol for symbol in Elf(library.read_bytes()).symbols(".symtab")}

    def parts(name: str) -> tuple[tuple[int, int], ...]:
        return cold_parts(image, range(symbols[name].value, symbols[name].value + symbols[name].size))

    cold = symbols["split.cold"]
    assert parts("split") == ((cold.value, cold.size),)
    assert parts("whole") == ()
