# SPDX-License-Identifier: GPL-2.0-or-later
"""The interpreter of seccomp programs against the kernel's own verdicts."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ulp import seccomp
from ulp.arch.x86_64 import AUDIT_ARCHITECTURE

# include/uapi/linux/bpf_common.h, include/uapi/linux/seccomp.h
LOAD, LOAD_IMMEDIATE, LOAD_LENGTH, LOAD_SCRATCH = 0x20, 0x00, 0x80, 0x60
LOADX_IMMEDIATE, LOADX_LENGTH, LOADX_SCRATCH = 0x01, 0x81, 0x61
STORE, STOREX, RETURN, RETURN_A, TAX, TXA, NEG, JUMP = 0x02, 0x03, 0x06, 0x16, 0x07, 0x87, 0x84, 0x05
ARITHMETIC = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xA4)  # + - * / | & << >> ^
SHIFTS = (0x64, 0x74)
BRANCHES = (0x15, 0x25, 0x35, 0x45)  # == > >= &
X = 0x08
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
USER_NOTIFICATION, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
ALL_ACTIONS = (KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW)
MASK = (1 << 32) - 1

SYS_SECCOMP, SYS_GETPPID, SYS_EXIT_GROUP = 317, 110, 231
CALL = 1_000_000  # a number that no system call has: ENOSYS where it is allowed
ARGUMENTS = (1, 0xFFFFFFFF, 0x1_0000_0000, 0x8000_0000_0000_0000, 0xDEAD_BEEF_0123_4567, 42)

Instruction = tuple[int, int, int, int]


def program(*instructions: Instruction) -> bytes:
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def data(arguments: Sequence[int] = ARGUMENTS, number: int = CALL) -> bytes:
    return struct.pack("<IIQ6Q", number, AUDIT_ARCHITECTURE, 0x1234_5678_9ABC, *arguments)


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = (ctypes.c_long,) + (ctypes.c_ulong,) * 6


def in_kernel(
    filters: Sequence[bytes], *, number: int = CALL, arguments: Sequence[int] = ARGUMENTS
) -> tuple[int, int]:
    """What the kernel does to a child that makes the call under the filters: (action, errno that it saw).

    Raises OSError (EINVAL) where the kernel does not take a filter.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGSYS, lambda *_: os._exit(77))
            libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
            for filter_ in filters:
                buffer = ctypes.create_string_buffer(filter_, len(filter_))
                fprog = struct.pack("<HxxxxxxQ", len(filter_) // 8, ctypes.addressof(buffer))
                holder = ctypes.create_string_buffer(fprog, len(fprog))
                if libc.syscall(SYS_SECCOMP, 1, 0, ctypes.addressof(holder), 0, 0, 0) == -1:
                    os.write(write, struct.pack("<iI", -1, ctypes.get_errno()))
                    os._exit(0)
            result = libc.syscall(number, *arguments)
            os.write(write, struct.pack("<iI", 0, ctypes.get_errno() if result == -1 else 0))
        finally:
            os._exit(0)
    os.close(write)
    try:
        answer = os.read(read, 8)
    finally:
        os.close(read)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGSYS
        return KILL_PROCESS, 0
    if os.WEXITSTATUS(status) == 77:
        return TRAP, 0
    kind, number_of_error = struct.unpack("<iI", answer)
    if kind == -1:
        raise OSError(number_of_error, "the kernel does not take the filter")
    return ALLOW, number_of_error


def guarded(body: Sequence[Instruction]) -> bytes:
    """A program that judges CALL only and lets everything else pass, so that the child can end."""
    return program((LOAD, 0, 0, 0), (0x15, 1, 0, CALL), (RETURN, 0, 0, ALLOW), *body)


def verdict(filters: Sequence[bytes]) -> int:
    return seccomp.verdict(filters, number=CALL, architecture=AUDIT_ARCHITECTURE, pc=0, arguments=ARGUMENTS)


def check_with_kernel(filters: Sequence[bytes]) -> None:
    """The kernel does what the interpreter says, action by action."""
    expected = verdict(filters)
    done, error = in_kernel(filters)
    if expected in {KILL_PROCESS, KILL_THREAD}:
        assert done == KILL_PROCESS  # the only thread is the process
    elif expected == TRAP:
        assert done == TRAP
    elif expected == ERRNO:
        assert done == ALLOW and error != errno.ENOSYS
    else:
        assert (done, error) == (ALLOW, errno.ENOSYS)


@pytest.mark.parametrize("action", ALL_ACTIONS, ids=hex)
def test_each_action(action: int) -> None:
    filters = [guarded([(RETURN, 0, 0, action | 7)])]
    assert verdict(filters) == action
    check_with_kernel(filters)


@pytest.mark.parametrize("first", ALL_ACTIONS, ids=hex)
def test_the_most_restrictive_of_several(first: int) -> None:
    order = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW]
    for second in ALL_ACTIONS:
        filters = [guarded([(RETURN, 0, 0, action)]) for action in (first, second)]
        assert verdict(filters) == min(first, second, key=order.index)
    for second in (KILL_THREAD, ERRNO, ALLOW):
        check_with_kernel([guarded([(RETURN, 0, 0, action | 7)]) for action in (first, second)])


def test_without_a_filter_all_is_allowed() -> None:
    assert verdict([]) == seccomp.ALLOW


@pytest.mark.parametrize("offset", range(16, 64, 4))
def test_arguments_are_seen_as_the_kernel_sees_them(offset: int) -> None:
    (word,) = struct.unpack_from("<I", data(), offset)
    body = [
        (LOAD, 0, 0, offset),
        (0x15, 0, 1, word),
        (RETURN, 0, 0, ERRNO | 1),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    assert verdict([guarded(body)]) == ERRNO
    check_with_kernel([guarded(body)])


def test_number_and_architecture() -> None:
    body = [
        (LOAD, 0, 0, 4),
        (0x15, 0, 1, AUDIT_ARCHITECTURE),
        (RETURN, 0, 0, ERRNO | 1),
        (RETURN, 0, 0, TRAP),
    ]
    assert verdict([guarded(body)]) == ERRNO
    check_with_kernel([guarded(body)])


# Programs that do nothing but compute, and return what they have computed: the answer is compared bit by bit, by
# asking the kernel for one bit of 16 after the other


def kernel_computes(body: Sequence[Instruction], expected: int) -> None:
    """Let the kernel compare the accumulator at the end of a program with what the interpreter says."""
    check = [(0x15, 0, 1, expected), (RETURN, 0, 0, ERRNO | 1), (RETURN, 0, 0, ERRNO | 2)]
    assert in_kernel([guarded([*body, *check])]) == (ALLOW, 1)


def interpreter_computes(body: Sequence[Instruction]) -> int:
    return seccomp.run(program(*body, (RETURN_A, 0, 0, 0)), data())


EDGES = (0, 1, 2, 31, 32, 33, 63, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.mark.parametrize("operation", ARITHMETIC, ids=hex)
def test_arithmetic_with_a_register(operation: int) -> None:
    """A shift by X is by its lower five bits, as the processor does it; a division by 0 ends with 0."""
    left = 0x89ABCDEF
    for right in EDGES:
        body = [(LOADX_IMMEDIATE, 0, 0, right), (LOAD_IMMEDIATE, 0, 0, left), (operation | X, 0, 0, 0)]
        if operation == 0x34 and right == 0:
            assert interpreter_computes(body) == 0
            assert in_kernel([guarded([*body, (RETURN, 0, 0, ALLOW)])]) == (KILL_PROCESS, 0)
        else:
            kernel_computes(body, interpreter_computes(body))


@pytest.mark.parametrize("operation", ARITHMETIC, ids=hex)
def test_arithmetic_with_a_constant(operation: int) -> None:
    for right in (1, 31, 0x80000000, 0xFFFFFFFF):
        if operation not in SHIFTS or right < 32:
            body = [(LOAD, 0, 0, 24), (operation, 0, 0, right), (NEG, 0, 0, 0)]
            kernel_computes(body, interpreter_computes(body))


def test_everything_else_that_a_program_may_do() -> None:
    body = [
        (LOAD_LENGTH, 0, 0, 0), (STORE, 0, 0, 15), (TAX, 0, 0, 0), (LOAD_IMMEDIATE, 0, 0, 5), (STOREX, 0, 0, 0),
        (0x24 | X, 0, 0, 0), (LOADX_SCRATCH, 0, 0, 15), (0x04 | X, 0, 0, 0), (LOADX_LENGTH, 0, 0, 0),
        (0xA4 | X, 0, 0, 0),
        (STORE, 0, 0, 3), (TXA, 0, 0, 0), (LOAD_SCRATCH, 0, 0, 3), (JUMP, 0, 0, 1), (LOAD_IMMEDIATE, 0, 0, 1),
    ]  # fmt: skip
    assert interpreter_computes(body) == (64 * 5 + 64) ^ 64
    kernel_computes(body, (64 * 5 + 64) ^ 64)


_words = st.one_of(st.integers(0, MASK), st.sampled_from(EDGES))


@st.composite
def instructions(draw: st.DrawFn) -> list[Instruction]:
    """A program that the kernel takes: no loop, every load in bounds, no scratch read before it is written."""
    body: list[Instruction] = [(LOAD_IMMEDIATE, 0, 0, 0), *((STORE, 0, 0, slot) for slot in range(2))]
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.integers(0, 5))
        word = draw(_words)
        if kind == 0:
            body.append((LOAD, 0, 0, 4 * draw(st.integers(4, 15))))
        elif kind == 1:
            body.append(
                (
                    draw(st.sampled_from([LOAD_IMMEDIATE, LOADX_IMMEDIATE, LOAD_LENGTH, LOADX_LENGTH])),
                    0,
                    0,
                    word,
                )
            )
        elif kind == 2:
            operation = draw(st.sampled_from(ARITHMETIC)) | draw(st.sampled_from([0, X]))
            if operation in SHIFTS:
                word %= 32
            body.append((operation, 0, 0, max(word, 1)))
        elif kind == 3:
            body.append(
                (draw(st.sampled_from([STORE, STOREX, LOAD_SCRATCH, LOADX_SCRATCH])), 0, 0, word % 2)
            )
        elif kind == 4:
            body.append((draw(st.sampled_from([TAX, TXA, NEG])), 0, 0, 0))
        else:  # a branch over the next instruction or two
            operation = draw(st.sampled_from(BRANCHES)) | draw(st.sampled_from([0, X]))
            body.append((operation, draw(st.integers(0, 2)), draw(st.integers(0, 2)), word))
            body += [(0x04, 0, 0, 3), (0x24, 0, 0, 5)]
    return body


def reference(body: Sequence[Instruction]) -> int | None:
    """A second interpreter, written as a table instead of by bits; None for a program that a division ends."""
    a = x = 0
    scratch = [0, 0]
    skip = 0
    words = struct.unpack("<16I", data())
    compute: dict[int, Callable[[int, int], int]] = {
        0x00: lambda p, q: p + q, 0x10: lambda p, q: p - q, 0x20: lambda p, q: p * q, 0x30: lambda p, q: p // q,
        0x40: lambda p, q: p | q, 0x50: lambda p, q: p & q, 0x60: lambda p, q: p << q % 32,
        0x70: lambda p, q: p >> q % 32, 0xA0: lambda p, q: p ^ q,
    }  # fmt: skip
    compare: dict[int, Callable[[int, int], bool]] = {
        0x10: lambda p, q: p == q, 0x20: lambda p, q: p > q, 0x30: lambda p, q: p >= q, 0x40: lambda p, q: p & q != 0,
    }  # fmt: skip
    for code, yes, no, k in body:
        if skip:
            skip -= 1
            continue
        if code == LOAD:
            a = words[k // 4]
        elif code in {0x00, 0x80, 0x60}:
            a = {0x00: k, 0x80: 64, 0x60: scratch[k % 2]}[code]
        elif code in {0x01, 0x81, 0x61}:
            x = {0x01: k, 0x81: 64, 0x61: scratch[k % 2]}[code]
        elif code in {STORE, STOREX}:
            scratch[k] = a if code == STORE else x
        elif code in {TAX, TXA}:
            a, x = (a, a) if code == TAX else (x, x)
        elif code == NEG:
            a = -a & MASK
        elif code & 7 == 4:
            right = x if code & X else k
            if code & 0xF0 == 0x30 and right == 0:
                return None
            a = compute[code & 0xF0](a, right) & MASK
        else:
            skip = yes if compare[code & 0xF0](a, x if code & X else k) else no
    return a


@settings(max_examples=300)
@given(instructions())
@example([(LOADX_IMMEDIATE, 0, 0, 33), (LOAD_IMMEDIATE, 0, 0, 3), (0x64 | X, 0, 0, 1)])
def test_any_program_against_a_second_interpreter(body: list[Instruction]) -> None:
    assert interpreter_computes(body) == (reference(body) or 0)


@settings(max_examples=40)
@given(instructions())
def test_any_program_against_the_kernel(body: list[Instruction]) -> None:
    expected = reference(body)
    if expected is None:
        assert in_kernel([guarded([*body, (RETURN, 0, 0, ALLOW)])]) == (KILL_PROCESS, 0)
    else:
        kernel_computes(body, interpreter_computes(body))


# What the kernel would not have taken


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 255), st.integers(0, MASK)),
        max_size=60,
    )
)
def test_garbage_is_a_bad_filter(code: list[Instruction]) -> None:
    begin = time.process_time()
    try:
        assert 0 <= seccomp.run(program(*code), data()) <= MASK
    except seccomp.BadFilter:
        pass
    assert time.process_time() - begin < 1


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_bytes_are_a_bad_filter(code: bytes) -> None:
    try:
        seccomp.run(code, data())
    except seccomp.BadFilter:
        pass


@pytest.mark.parametrize(
    "body",
    [
        [], [(LOAD, 0, 0, 0)], [(JUMP, 0, 0, 5), (RETURN, 0, 0, ALLOW)], [(LOAD, 0, 0, 64), (RETURN, 0, 0, ALLOW)],
        [(LOAD, 0, 0, 61), (RETURN, 0, 0, ALLOW)], [(LOAD, 0, 0, 2), (RETURN, 0, 0, ALLOW)],
        [(0x28, 0, 0, 0), (RETURN, 0, 0, ALLOW)], [(0x40, 0, 0, 0), (RETURN, 0, 0, ALLOW)],
        [(0x94, 0, 0, 3), (RETURN, 0, 0, ALLOW)], [(0x34, 0, 0, 0), (RETURN, 0, 0, ALLOW)],
        [(0x64, 0, 0, 32), (RETURN, 0, 0, ALLOW)], [(STORE, 0, 0, 16), (RETURN, 0, 0, ALLOW)],
        [(0x55, 0, 0, 0), (RETURN, 0, 0, ALLOW)], [(0x21, 0, 0, 0), (RETURN, 0, 0, ALLOW)],
    ],
    ids=str,
)  # fmt: skip
def test_what_the_kernel_does_not_take_is_a_bad_filter(body: list[Instruction]) -> None:
    with pytest.raises(OSError, match="does not take"):
        in_kernel([program(*body)])
    with pytest.raises(seccomp.BadFilter):
        seccomp.run(program(*body), data())


def test_a_program_of_the_longest_kind_is_quick() -> None:
    body = [(0x04, 0, 0, 1)] * 4095
    begin = time.process_time()
    assert interpreter_computes(body) == 4095
    assert time.process_time() - begin < 1
    assert sys.getrecursionlimit() < 4096
