# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers and the restart of system calls, against what the kernel documents and does."""

from __future__ import annotations

import ctypes
import errno
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulp.arch import x86_64 as arch

ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK = 512, 513, 514, 516
NO_CALL = arch.MASK64
_words = st.integers(0, arch.MASK64)
_registers = st.lists(_words, min_size=arch.REGISTER_COUNT, max_size=arch.REGISTER_COUNT)


def registers(values: Sequence[int] = (), **named: int) -> ctypes.Array[ctypes.c_ulonglong]:
    found = (ctypes.c_ulonglong * arch.REGISTER_COUNT)(*values)
    for name, value in named.items():
        found[getattr(arch, name)] = value & arch.MASK64
    return found


def header(name: str) -> str:
    places = [Path("/usr/include", name), Path("/usr/include/x86_64-linux-gnu", name)]
    return next((place.read_text() for place in places if place.exists()), "")


def test_the_order_is_that_of_the_kernel() -> None:
    text = re.search(r"struct user_regs_struct\s*\{(.*?)\};", header("sys/user.h"), re.DOTALL)
    assert text is not None
    names = re.findall(r"long long int (\w+);", text[1])[: arch.REGISTER_COUNT]
    assert len(names) == arch.REGISTER_COUNT
    for name in (
        "R11",
        "R10",
        "R9",
        "R8",
        "RAX",
        "RCX",
        "RDX",
        "RSI",
        "RDI",
        "ORIG_RAX",
        "RIP",
        "RSP",
        "FS_BASE",
    ):
        assert names[getattr(arch, name)] == name.lower(), name


def test_the_numbers_of_system_calls_are_those_of_the_kernel() -> None:
    numbers = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", header("asm/unistd_64.h")))
    for name in ("close", "mmap", "munmap", "rt_sigprocmask", "restart_syscall", "memfd_create"):
        assert int(numbers[name]) == getattr(arch, f"SYS_{name.upper()}")
    assert {int(numbers[name]): name for name in arch.CALL_NAMES.values()} == arch.CALL_NAMES


def test_relocation_types_are_those_of_the_abi() -> None:
    numbers = dict(re.findall(r"#define R_X86_64_(\w+)\s+(\d+)", header("elf.h")))
    names = {"ABSOLUTE_64": "64", "ABSOLUTE_32": "32"}
    for kind in arch.Relocation:
        assert int(numbers[names.get(kind.name, kind.name)]) == kind, kind


@pytest.mark.parametrize("call", [232, 281, 441, 128, 0, 47, 426])
def test_an_answer_of_eintr_is_turned_into_a_restart(call: int) -> None:
    found = registers(RAX=-errno.EINTR, ORIG_RAX=call, RIP=100)
    assert arch.mend_interrupted_call(found)
    assert found[arch.RAX] == -ERESTARTNOHAND & arch.MASK64
    assert (found[arch.ORIG_RAX], found[arch.RIP]) == (call, 100)


@given(_registers, st.integers(-4096, 4096), st.one_of(st.integers(0, 500), st.just(NO_CALL)))
def test_nothing_else_is_mended(values: list[int], result: int, call: int) -> None:
    found = registers(values, RAX=result, ORIG_RAX=call)
    before = list(found)
    changed = arch.mend_interrupted_call(found)
    assert changed == (list(found) != before)
    if result != -errno.EINTR or call in {7, 23, 35, 202, 230, 270, 271, 34, 130, 61}:
        # the kernel restarts poll, select, nanosleep, futex, clock_nanosleep, pause, sigsuspend, wait4 by itself
        assert not changed


@given(_registers, st.integers(0, 500), st.sampled_from([ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND]))
def test_a_restart_makes_the_call_again(values: list[int], call: int, why: int) -> None:
    found = registers(values, RAX=-why, ORIG_RAX=call, RIP=0x1002)
    after = arch.after_restart(found)
    assert (after[arch.RAX], after[arch.RIP], after[arch.ORIG_RAX]) == (call, 0x1000, NO_CALL)
    assert [v for i, v in enumerate(after) if i not in {arch.RAX, arch.RIP, arch.ORIG_RAX}] == [
        v for i, v in enumerate(found) if i not in {arch.RAX, arch.RIP, arch.ORIG_RAX}
    ]


def test_a_call_that_the_kernel_remembers_is_restarted_by_restart_syscall() -> None:
    after = arch.after_restart(registers(RAX=-ERESTART_RESTARTBLOCK, ORIG_RAX=35, RIP=0x1002))
    assert (after[arch.RAX], after[arch.RIP]) == (arch.SYS_RESTART_SYSCALL, 0x1000)


@given(_registers)
def test_outside_of_a_call_nothing_is_restarted(values: list[int]) -> None:
    for why in (ERESTARTSYS, ERESTART_RESTARTBLOCK, errno.EINTR):
        found = registers(values, RAX=-why, ORIG_RAX=NO_CALL)
        assert arch.after_restart(found) == list(found)


@pytest.mark.parametrize("result", [0, 1, 4096, arch.MASK64 - 5000, -errno.ENOSYS & arch.MASK64])
def test_a_call_that_is_done_is_not_restarted(result: int) -> None:
    found = registers(RAX=result, ORIG_RAX=1, RIP=0x1002)
    after = arch.after_restart(found)
    assert (after[arch.RAX], after[arch.RIP], after[arch.ORIG_RAX]) == (result, 0x1002, NO_CALL)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (5, 5), (-1 & arch.MASK64, -1), (-4095 & arch.MASK64, -4095), (0x7F00_0000_0000, 0x7F00_0000_0000),
     (-4096 & arch.MASK64, -4096 & arch.MASK64)],
)  # fmt: skip
def test_results(value: int, expected: int) -> None:
    assert arch.result(registers(RAX=value)) == expected


def test_where_a_thread_may_go_on() -> None:
    assert arch.resume_points(registers(RIP=100, ORIG_RAX=NO_CALL)) == (100,)
    assert arch.resume_points(registers(RIP=100, ORIG_RAX=202)) == (100, 98)
    assert arch.in_system_call(registers(ORIG_RAX=0)) and not arch.in_system_call(
        registers(ORIG_RAX=NO_CALL)
    )


def test_entering_code_is_no_system_call() -> None:
    found = registers(RAX=-ERESTARTSYS, ORIG_RAX=7, RIP=1)
    arch.enter(found, 0x5000)
    assert (found[arch.RIP], found[arch.ORIG_RAX]) == (0x5000, NO_CALL)


def test_64_bit_code() -> None:
    found = registers()
    for segment, expected in ((0x33, True), (0x23, False), (0, False)):
        found[17] = segment
        assert arch.runs_64_bit(found) is expected


@given(st.binary(min_size=7, max_size=7))
def test_a_call_is_seen_from_behind(code: bytes) -> None:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for start in range(6):
        for _, length, name, _ in decoder.disasm_lite(code[start:], 0, count=1):
            if name == "call" and start + length == 7:
                assert arch.follows_call(code), code[start:].hex()


@pytest.mark.parametrize(
    "call",
    [
        "e800000000",
        "ffd0",
        "41ffd3",
        "ff10",
        "ff5008",
        "ff542408",
        "ff9000010000",
        "ff1500000000",
        "ff94c800010000",
    ],
)
def test_every_form_of_a_call(call: str) -> None:
    assert arch.follows_call(bytes.fromhex(call).rjust(7, b"\x90"))


def test_what_is_no_call() -> None:
    for code in ("", "c3", "e900000000", "ffe0", "ff30", "ffc0"):  # jmp, jmp *rax, push, inc
        assert not arch.follows_call(bytes.fromhex(code).rjust(7, b"\x90"))
