# SPDX-License-Identifier: GPL-2.0-or-later
"""Detours: executed in this process, and the choice of their place against a disassembler."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ulp.arch import x86_64_detour as detour
from ulp.arch.x86_64_detour import BEFORE, PAD, CannotDivert, Site, choose, inside

ENDBR = b"\xf3\x0f\x1e\xfa"
NOPS = b"\x90" * PAD
RET = b"\xc3"
FILLERS = [
    b"\xcc", b"\x90", b"\x66\x90", b"\x0f\x1f\x00", b"\x0f\x1f\x40\x00", b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00", b"\x0f\x1f\x80\x00\x00\x00\x00", b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00", b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
]  # fmt: skip
BASE = 0x7F00_1234_5000


def answering(value: int) -> bytes:
    """A function: mov eax, value; ret."""
    return b"\xb8" + struct.pack("<I", value) + RET


def chosen(
    body: bytes,
    *,
    before: bytes = b"",
    behind: bytes = b"\x55" * 32,
    size: int | None = None,
    address: int = BASE,
) -> Site:
    code = before.rjust(BEFORE, b"\x55") + body + behind
    return choose(code, address=address, size=len(body) if size is None else size)


def refused(body: bytes, **words: object) -> CannotDivert:
    with pytest.raises(CannotDivert) as error:
        chosen(body, **words)  # type: ignore[arg-type]
    return error.value


# Detours that are executed


class Code:
    """Executable memory of this process, with functions at places."""

    def __init__(self) -> None:
        self._area = mmap.mmap(-1, 1 << 16, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._start = ctypes.c_char.from_buffer(self._area)
        self.address = ctypes.addressof(self._start)

    def close(self) -> None:
        del self._start
        self._area.close()

    def put(self, offset: int, data: bytes) -> int:
        self._area[offset : offset + len(data)] = data
        return self.address + offset

    def take(self, address: int, size: int) -> bytes:
        offset = address - self.address
        return self._area[offset : offset + size]

    def call(self, address: int) -> int:
        function: Callable[[], int] = ctypes.CFUNCTYPE(ctypes.c_int)(address)
        return function()


@pytest.fixture
def code() -> Iterator[Code]:
    area = Code()
    yield area
    area.close()


FORMS = {
    "plain": (b"", b""),
    "endbr64": (b"", ENDBR),
    "pad": (NOPS, b"\x90\x90"),
    "pad-two-byte-nop": (NOPS, b"\x66\x90"),
    "pad-endbr64": (NOPS, ENDBR + b"\x90\x90"),
    "pad-endbr64-two-byte-nop": (NOPS, ENDBR + b"\x66\x90"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_diverted_function_answers_with_the_new_one(code: Code, form: str) -> None:
    before, prefix = FORMS[form]
    body = prefix + answering(1)
    old = code.put(0x100 - len(before), before + body + b"\xcc" * 32) + len(before)
    new, newer = code.put(0x2000, answering(2)), code.put(0x8000, answering(3))
    assert code.call(old) == 1
    site = choose(code.take(old - BEFORE, BEFORE + len(body) + 32), address=old, size=len(body))
    assert site.pad == (form.startswith("pad"))
    original = code.take(site.address, site.size)
    for destination, answer in ((new, 2), (newer, 3), (new, 2)):
        # stacked detours are made from the original bytes, too
        code.put(site.address - code.address, site.detour(destination, original))
        assert code.call(old) == answer
        assert code.take(old, len(prefix))[:4] == body[:4] or prefix[:4] != ENDBR, "endbr64 stays in front"
    code.put(site.address - code.address, original)
    assert code.call(old) == 1
    assert code.take(old - len(before), len(before) + len(body)) == before + body


def test_a_pad_leads_anywhere_and_a_jump_within_two_gigabytes() -> None:
    site = chosen(b"\x90\x90" + answering(1), before=NOPS)
    assert site.detour(0x1122334455667788, NOPS + b"\x90\x90") == (
        b"\xff\x25\0\0\0\0" + struct.pack("<Q", 0x1122334455667788) + b"\xeb\xf0"
    )
    site = chosen(answering(1))
    for distance in (1 << 20, -(1 << 20), (1 << 31) - 1, -(1 << 31)):
        assert site.detour(BASE + 5 + distance, b"") == b"\xe9" + struct.pack("<i", distance)
    with pytest.raises(struct.error):
        site.detour(BASE + 5 + (1 << 31), b"")


# Where a detour goes


def test_the_place_of_each_form() -> None:
    plain = Site(address=BASE, size=5, entry=BASE, pad=False)
    assert chosen(answering(1)) == plain
    assert chosen(ENDBR + answering(1)) == Site(address=BASE + 4, size=5, entry=BASE + 4, pad=False)
    assert chosen(b"\x90\x90" + answering(1), before=NOPS) == Site(
        address=BASE - 14, size=16, entry=BASE, pad=True
    )
    assert chosen(ENDBR + b"\x66\x90" + RET, before=NOPS) == Site(
        address=BASE - 14, size=20, entry=BASE + 4, pad=True
    )
    # one nop too few is no pad
    assert chosen(b"\x90\x90" + answering(1), before=NOPS[1:]) == plain
    assert chosen(b"\x90" + answering(1), before=NOPS) == plain
    # an endbr64 stays unless there is no room behind it
    assert chosen(ENDBR + b"\x31\xc0\x90" + RET) == plain


def test_addresses_where_nobody_may_go_on() -> None:
    assert list(inside(100, pad=False)) == [101, 102, 103, 104]
    assert list(inside(100, pad=True)) == [101]


@pytest.mark.parametrize("size", range(1, 5))
def test_too_short(size: int) -> None:
    body = (b"\x50" * 4)[: size - 1] + RET
    error = refused(body)
    assert error.too_short and str(error) == f"it has {size} bytes, a detour needs 5"


def test_of_unknown_length() -> None:
    error = refused(b"", address=BASE + 4, behind=b"\x90" * 32)
    assert not error.too_short and "its length is in no table" in str(error)


@pytest.mark.parametrize("filler", FILLERS, ids=bytes.hex)
def test_filler_behind_a_short_function_is_room(filler: bytes) -> None:
    body = b"\x31\xc0" + RET
    behind = filler * 13
    whole = filler if len(filler) > 1 else behind
    if len(whole) >= 2 and 3 + len(whole) <= 16:
        assert chosen(body, behind=whole + b"\x55" * 32).size == 5
    # what lies behind the next multiple of 16 is the next function, whatever it looks like
    assert refused(body, behind=behind, address=BASE + 12).too_short
    assert chosen(body, behind=b"\xcc" * 8, address=BASE + 8).size == 5


def test_no_filler_is_no_room() -> None:
    body = b"\x31\xc0" + RET
    assert refused(body, behind=b"\xcc" + ENDBR + b"\x55" * 20).too_short
    assert refused(body, behind=b"\x0f\x1f").too_short
    assert refused(body, behind=b"").too_short


@given(st.binary(max_size=40), st.integers(0, 45), st.integers(0, 15), st.binary(max_size=16))
@settings(max_examples=300)
@example(ENDBR, 0, 0, b"")
@example(b"", 0, 0, b"")
def test_whatever_the_bytes_are(body: bytes, size: int, offset: int, before: bytes) -> None:
    try:
        site = chosen(body, before=before, behind=b"", size=min(size, len(body)), address=BASE + offset)
    except CannotDivert as error:
        assert str(error)
    else:
        assert BASE + offset - PAD <= site.address <= site.entry
        assert site.entry - BASE - offset in {0, 4}


@pytest.mark.parametrize(
    ("before", "body"),
    [(b"", b"\xcc" + answering(1)), (b"", ENDBR + b"\xcc" + answering(1)), (b"", b"\xcc\x0f\x1e\xfa" + answering(1)),
     (b"", b"\x55\xcc\x89\xe5" + answering(1)), (b"", b"\x55\x48\x89\xe5\xcc" + answering(1)),
     (NOPS, b"\xcc\x90" + answering(1)), (NOPS, ENDBR + b"\xcc\x90" + answering(1))],
)  # fmt: skip
def test_a_breakpoint_belongs_to_somebody_else(before: bytes, body: bytes) -> None:
    error = refused(body, before=before)
    assert "breakpoint" in str(error) and not error.too_short


def test_what_only_looks_like_a_breakpoint() -> None:
    assert chosen(b"\x01\xcc" + answering(1)).entry == BASE  # add esp, ecx


def test_the_alias_of_a_merged_function() -> None:
    """Identical code folding leaves `jmp other`, 2 or 5 bytes: with filler behind it is room enough, without not."""
    short = b"\xeb\x40"
    assert refused(short, behind=b"\x55" * 32).too_short
    assert chosen(short, behind=b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00\x0f\x1f\x00" + b"\x55").size == 5
    assert chosen(b"\xe9" + struct.pack("<i", 1000)).size == 5


# Branches into the first bytes

FIVE = b"\x48\x89\xf8\x90\x90"  # mov rax, rdi; nop; nop


def jump_back(body: bytes, target: int, *, form: str) -> bytes:
    """The body, a branch of that form to an offset of it, and a ret."""
    opcode, size = {
        "jmp8": (b"\xeb", 1), "jne8": (b"\x75", 1), "loop": (b"\xe2", 1), "jrcxz": (b"\xe3", 1),
        "jmp32": (b"\xe9", 4), "jne32": (b"\x0f\x85", 4),
    }[form]  # fmt: skip
    distance = target - (len(body) + len(opcode) + size)
    return body + opcode + distance.to_bytes(size, "little", signed=True) + RET


@pytest.mark.parametrize("form", ["jmp8", "jne8", "loop", "jrcxz", "jmp32", "jne32"])
def test_a_branch_into_the_first_bytes(form: str) -> None:
    for target in range(12):
        body = jump_back(FIVE + b"\x90" * 7, target, form=form)
        if 1 <= target <= 4:
            assert "offset 0xc branches into its first bytes" in str(refused(body))
        else:  # exactly at its start is fine: that is a call of the new function
            assert chosen(body).entry == BASE


@pytest.mark.parametrize("form", ["jmp8", "jmp32"])
def test_with_endbr64_the_other_place_is_tried(form: str) -> None:
    # into the bytes behind endbr64: the detour goes over endbr64 itself, unless these are entered as well
    body = jump_back(ENDBR + FIVE + b"\x90" * 7, 7, form=form)
    assert chosen(body).entry == BASE
    assert "branches into" in str(refused(jump_back(body[:-1], 2, form=form)))
    assert chosen(jump_back(ENDBR + FIVE + b"\x90" * 7, 4, form=form)).entry == BASE + 4


def test_pads_care_for_no_branch() -> None:
    body = jump_back(b"\x90\x90" + FIVE, 2, form="jmp8")
    assert chosen(body, before=NOPS).pad


def test_what_only_looks_like_a_branch() -> None:
    # mov eax, 0xfbeb: decoded, it is no branch
    body = FIVE + b"\xb8" + b"\xeb\xfb\x00\x00" + RET
    assert chosen(body).entry == BASE
    # the same bytes where the function cannot be decoded to its end
    assert "cannot be decoded" in str(refused(FIVE + b"\xb8\xeb\xfb\x00\x00" + b"\x06\x06"))


INSTRUCTIONS = [
    b"\x90", b"\x55", b"\x31\xc0", b"\x48\x89\xe5", b"\x0f\x1f\x40\x00", b"\xb8\xeb\xf9\x74\xf8",
    b"\x48\x8d\x05\x75\xf0\xe9\xff",
    b"\xe8\x00\x00\x00\x00", b"\xff\xd0", b"\x48\xb8\x0f\x84\xf0\xff\xff\xff\xeb\xf0", b"\x66\x90",
]  # fmt: skip


@st.composite
def generated(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Code of a function, and the offsets that its branches lead to."""
    start = ENDBR if draw(st.booleans()) else b""
    code = bytearray(start)
    pending: list[tuple[int, int]] = []  # (offset behind the operand, size of the operand)
    for _ in range(draw(st.integers(4, 20))):
        kind = draw(st.integers(0, 3))
        if kind:
            code += draw(st.sampled_from(INSTRUCTIONS))
        else:
            opcode, size = draw(
                st.sampled_from([(b"\xeb", 1), (b"\x74", 1), (b"\xe9", 4), (b"\x0f\x8c", 4), (b"\xe2", 1)])
            )
            code += opcode + bytes(size)
            pending.append((len(code), size))
    code += RET
    targets = []
    for end, size in pending:
        lowest = max(0, end - 128) if size == 1 else 0
        highest = min(len(code) - 1, end + 127) if size == 1 else len(code) - 1
        target = draw(
            st.one_of(st.integers(lowest, min(highest, lowest + 10)), st.integers(lowest, highest))
        )
        code[end - size : end] = (target - end).to_bytes(size, "little", signed=True)
        targets.append(target)
    return bytes(code), targets


def test_without_a_disassembler_what_needs_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    plain, branching = b"\x90" * 40, b"\x90" * 10 + b"\xeb\xf6" + b"\x90" * 28  # jmp to the third byte
    assert chosen(plain).address == BASE
    sentence = "its instructions can only be read with the library capstone for Python, which is missing"
    assert str(refused(branching)) == sentence


@settings(max_examples=300)
@given(generated())
def test_branches_of_generated_code(function: tuple[bytes, list[int]]) -> None:
    code, targets = function

    def free(start: int) -> bool:
        return start + 5 <= len(code) and not any(start < target < start + 5 for target in targets)

    places = [4, 0] if code.startswith(ENDBR) else [0]
    expected = next((start for start in places if free(start)), None)
    if expected is None:
        assert "branches into its first bytes" in str(refused(code))
        return
    site = chosen(code)
    assert (site.address, site.entry, site.pad) == (BASE + expected, BASE + expected, False)
    # what a disassembler sees after the change: one jump, and the same instructions behind the covered ones
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    patched = (
        code[:expected] + site.detour(BASE + 0x1000, code[expected : expected + 5]) + code[expected + 5 :]
    )
    (jump,) = decoder.disasm_lite(patched[expected : expected + 5], site.entry)
    assert jump[2:] == ("jmp", hex(BASE + 0x1000))


@settings(max_examples=200)
@given(generated(), st.integers(0, 20), st.integers(1, 8))
def test_branches_to_a_range(function: tuple[bytes, list[int]], first: int, length: int) -> None:
    code, targets = function
    calls = [index + 5 for index in range(len(code)) if code[index : index + 5] == b"\xe8\0\0\0\0"]
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    real_calls = [
        start + 5
        for start, _, name, _ in decoder.disasm_lite(code, 0)
        if name == "call" and start + 5 in calls
    ]
    wanted = range(BASE + first, BASE + first + length)
    expected = any(BASE + target in wanted for target in [*targets, *real_calls])
    assert detour.branches_to(code, address=BASE, targets=wanted) is expected
    assert detour.branches_to(code + b"\x06", address=BASE, targets=wanted) in (
        {True} if expected else {None}
    )


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_every_branch_that_is_decoded_anywhere_is_found_by_its_looks(code: bytes) -> None:
    """The quick look at bytes may see too many branches, never too few: at any offset, whatever is in front of it."""
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    looks = {*detour.short_branches(code), *detour.near_branches(code)}
    ends = {target for _, target in looks}
    for offset in range(len(code)):
        for start, length, name, operands in decoder.disasm_lite(code[offset:], BASE + offset, count=1):
            if name[0] == "j" and operands.startswith("0x") and length in {2, 5, 6}:
                assert int(operands, 16) - BASE in ends, (start, name, operands)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"\xff\xd0", True),  # call rax
        (b"\x3e\xff\xd0", True),  # notrack call rax
        (b"\xff\x50\x10", True),  # call [rax + 16], as of a virtual function
        (b"\x41\xff\x54\x24\x08", True),  # call [r12 + 8]
        (b"\xff\x15\x00\x10\x00\x00", False),  # call [rip + 0x1000], as of an import
        (b"\xe8\xff\xd0\xff\xff", False),  # a direct call with a distance that looks like one
        (b"\xff\xe0", False),  # jmp rax: a tail call leaves no frame
    ],
)
def test_calls_by_pointers(code: bytes, expected: bool) -> None:
    assert detour.calls_pointers(b"\x90" + code + RET) is expected
