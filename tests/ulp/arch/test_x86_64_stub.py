# SPDX-License-Identifier: GPL-2.0-or-later
"""The injected code, run in a child that checks what becomes of its registers, flags, vectors and red zone."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from host.procfs import Mapping, parse_maps, read, status
from tests.support.targets import compiled
from ulp.arch import x86_64 as arch
from ulp.arch import x86_64_stub as stub
from ulp.arch.x86_64_stub import DESCRIPTOR, Call

# Jumps into a page of foreign code with registers of our choice, and tells what they are when it comes back.
# in and out: rax rcx rdx rbx rsp rbp rsi rdi r8-r15, flags, 16 words of red zone, 16 vectors.
RUNNER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
uint64_t in[17 + 16 + 32] __attribute__((aligned(16))), out[17 + 16 + 32] __attribute__((aligned(16)));
uint64_t kept, code;
extern char landing[];
void enter(void);
asm(".text\n.globl enter\n.globl landing\nenter:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rsp, kept(%rip)\n"
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nmovups in+264+16*\\n(%rip), %xmm\\n\n.endr\n"
    "push in+128(%rip); popfq\n"
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nmov in+136+8*\\n(%rip), %rax; mov %rax, -128+8*\\n(%rsp)\n.endr\n"
    "mov in(%rip), %rax; mov in+8(%rip), %rcx; mov in+16(%rip), %rdx; mov in+24(%rip), %rbx\n"
    "mov in+40(%rip), %rbp; mov in+48(%rip), %rsi; mov in+56(%rip), %rdi; mov in+64(%rip), %r8\n"
    "mov in+72(%rip), %r9; mov in+80(%rip), %r10; mov in+88(%rip), %r11; mov in+96(%rip), %r12\n"
    "mov in+104(%rip), %r13; mov in+112(%rip), %r14; mov in+120(%rip), %r15\n"
    "jmp *code(%rip)\n"
    "landing:\n"
    "mov %rax, out(%rip); mov %rcx, out+8(%rip); mov %rdx, out+16(%rip); mov %rbx, out+24(%rip)\n"
    "mov %rsp, out+32(%rip); mov %rbp, out+40(%rip); mov %rsi, out+48(%rip); mov %rdi, out+56(%rip)\n"
    "mov %r8, out+64(%rip); mov %r9, out+72(%rip); mov %r10, out+80(%rip); mov %r11, out+88(%rip)\n"
    "mov %r12, out+96(%rip); mov %r13, out+104(%rip); mov %r14, out+112(%rip); mov %r15, out+120(%rip)\n"
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nmov -128+8*\\n(%rsp), %rax; mov %rax, out+136+8*\\n(%rip)\n.endr\n"
    "pushfq; pop out+128(%rip)\n"
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nmovups %xmm\\n, out+264+16*\\n(%rip)\n.endr\n"
    "cld\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");
static void take(void *place, size_t size) {
    for (ssize_t count; size; size -= (size_t)count, place = (char *)place + count)
        if ((count = read(0, place, size)) <= 0) exit(92);
}
int main(void) {
    uint64_t request[2];  /* where the page shall be, where in it the code starts */
    uint64_t address = (uint64_t)landing;
    if (write(1, &address, 8) != 8) return 90;
    take(request, sizeof request);
    take(in, sizeof in);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    char *page = mmap((void *)request[0], 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (page != (char *)request[0]) return 91;
    take(page, 4096);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC)) return 93;
    code = request[0] + request[1];
    enter();
    out[4] -= kept;
    if (write(1, out, sizeof out) != sizeof out) return 94;
    return read(0, &address, 1) != 0;
}
"""
LAYOUT = struct.Struct("<17Q 128s 256s")
ORDER = (
    arch.RAX,
    arch.RCX,
    arch.RDX,
    5,
    arch.RSP,
    4,
    arch.RSI,
    arch.RDI,
    arch.R8,
    arch.R9,
    arch.R10,
    arch.R11,
    3,
    2,
    1,
    0,
)
CAVE = 0x1000_0000
PLACE = 0x2000_0000
ALL_FLAGS = 0xCD5 | 0x202  # carry, parity, adjust, zero, sign, DIRECTION, overflow
NO_FLAGS = 0x202


@dataclass(frozen=True)
class Ran:
    """What a run of injected code left behind."""

    words: tuple[int, ...]
    red_zone: bytes
    vectors: bytes
    maps: tuple[Mapping, ...]
    blocked: int
    files: list[str]


def mmap(address: int, size: int, protection: int, *, anonymous: bool = False, offset: int = 0) -> Call:
    flags = 0x02 | 0x100000 | (0x20 if anonymous else 0)  # PRIVATE, FIXED_NOREPLACE, ANONYMOUS
    return Call(number=arch.SYS_MMAP, arguments=(address, size, protection, flags, DESCRIPTOR, offset))


CALLS = (
    Call(number=arch.SYS_MEMFD_CREATE, arguments=(0, 1)),
    mmap(PLACE, 2 * arch.PAGE, 5, offset=arch.PAGE),
    mmap(PLACE + 4 * arch.PAGE, arch.PAGE, 1),
    mmap(PLACE + 0x1_0000_0000, arch.PAGE, 3, anonymous=True),
    Call(number=arch.SYS_CLOSE, arguments=(DESCRIPTOR,)),
)


@contextmanager
def runner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([compiled(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def run(
    calls: Sequence[Call],
    *,
    words: Sequence[int],
    flags: int,
    mask: int = 0,
    name: bytes = b"ulp1-2-x",
) -> tuple[Ran, bytes]:
    """Run injected code with these registers and flags; returns what is left, and red zone and vectors before."""
    with runner() as child:
        assert child.stdin is not None and child.stdout is not None
        (landing,) = struct.unpack("<Q", child.stdout.read(8))
        registers = [0] * arch.REGISTER_COUNT
        for word, register in zip(words, ORDER, strict=True):
            registers[register] = word
        registers[arch.RIP] = landing
        code, start = stub.assemble(calls, address=CAVE, registers=registers, signal_mask=mask, name=name)
        assert len(code) <= stub.longest(len(calls), name=len(name))
        before = random.Random(1).randbytes(128 + 256)
        child.stdin.write(
            struct.pack("<QQ", CAVE, start) + LAYOUT.pack(*words, flags, before[:128], before[128:])
        )
        child.stdin.write(code.ljust(arch.PAGE, b"\xcc"))
        child.stdin.flush()
        answer = child.stdout.read(LAYOUT.size)
        assert len(answer) == LAYOUT.size, f"the child ended with {child.wait(10)}"
        *found, red_zone, vectors = LAYOUT.unpack(answer)
        ran = Ran(
            words=tuple(found),
            red_zone=red_zone,
            vectors=vectors,
            maps=parse_maps(read(f"/proc/{child.pid}/maps")),
            blocked=int(status(child.pid)["SigBlk"], 16),
            files=sorted(path.name for path in Path(f"/proc/{child.pid}/fd").iterdir()),
        )
        child.stdin.close()
        assert child.wait(10) == 0
        return ran, before


def random_words(seed: int) -> list[int]:
    source = random.Random(seed)
    words = [
        source.choice([source.getrandbits(64), source.getrandbits(31), 0, arch.MASK64]) for _ in range(16)
    ]
    words[4] = 0  # the stack pointer's distance
    return words


@pytest.mark.parametrize("flags", [ALL_FLAGS, NO_FLAGS], ids=["all-flags", "no-flags"])
@pytest.mark.parametrize("seed", range(4))
def test_everything_comes_back(seed: int, flags: int) -> None:
    words = random_words(seed)
    mask = random.Random(seed).getrandbits(64)
    ran, before = run(CALLS, words=words, flags=flags, mask=mask)
    assert ran.words[:16] == tuple(words)
    assert ran.words[16] & ~0x10000 == flags
    assert ran.red_zone + ran.vectors == before
    # SIGKILL and SIGSTOP cannot be blocked
    assert ran.blocked == mask & ~(1 << signal.SIGKILL - 1) & ~(1 << signal.SIGSTOP - 1)


def test_the_calls_are_made() -> None:
    ran, _ = run(CALLS, words=random_words(9), flags=NO_FLAGS)
    mine = {
        item.start: (item.end - item.start, item.permissions, item.offset, item.path)
        for item in ran.maps
        if PLACE <= item.start < PLACE + 0x2_0000_0000
    }
    assert mine == {
        PLACE: (2 * arch.PAGE, "r-xp", arch.PAGE, "/memfd:ulp1-2-x (deleted)"),
        PLACE + 4 * arch.PAGE: (arch.PAGE, "r--p", 0, "/memfd:ulp1-2-x (deleted)"),
        PLACE + 0x1_0000_0000: (arch.PAGE, "rw-p", 0, ""),
    }
    assert ran.files == ["0", "1", "2"], "the descriptor of the memfd is closed"


@pytest.mark.parametrize("name", [b"", b"x" * 249, bytes(range(1, 200))], ids=["empty", "longest", "odd"])
def test_names(name: bytes) -> None:
    ran, _ = run(CALLS, words=random_words(1), flags=NO_FLAGS, name=name)
    (found,) = [item.path for item in ran.maps if item.start == PLACE]
    assert (
        found.encode("utf-8", "surrogateescape")
        == b"/memfd:" + name.replace(b"\n", b"\\012") + b" (deleted)"
    )


def test_failing_calls_do_no_harm() -> None:
    """Nobody looks at answers when the tool has died: the code runs through and gives everything back."""
    taken = [mmap(CAVE, arch.PAGE, 7, anonymous=True), Call(number=arch.SYS_MUNMAP, arguments=(1, 1))]
    calls = [Call(number=arch.SYS_MEMFD_CREATE, arguments=(0, 0xFFFF)), *CALLS[1:], *taken]
    words = random_words(5)
    ran, before = run(calls, words=words, flags=ALL_FLAGS)
    assert ran.words[:16] == tuple(words) and ran.red_zone + ran.vectors == before
    assert [item.permissions for item in ran.maps if item.start == CAVE] == ["r-xp"]


def test_a_page_of_calls() -> None:
    calls = [Call(number=arch.SYS_CLOSE, arguments=(arch.MASK64,))] * 30
    words = random_words(6)
    ran, _ = run(calls, words=words, flags=NO_FLAGS)
    assert ran.words[:16] == tuple(words)


@pytest.mark.parametrize("name", [0, 8, 249])
def test_the_bound_holds_for_the_longest_calls(name: int) -> None:
    for count in range(12):
        calls = [mmap(arch.MASK64, arch.MASK64, 7, offset=arch.MASK64)] * count
        code, start = stub.assemble(
            calls, address=arch.MASK64 - arch.PAGE, registers=[0] * 27, signal_mask=0, name=b"x" * name
        )
        assert len(code) <= stub.longest(count, name=name) and code.startswith(stub.MARKER)
        assert start == len(stub.MARKER) + 8 + name + 1


def test_only_moves_system_calls_and_one_jump() -> None:
    """No instruction can touch flags, stack, memory or vector registers."""
    import capstone

    code, start = stub.assemble(CALLS, address=CAVE, registers=random_words(3) * 2, signal_mask=1, name=b"n")
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoded = list(decoder.disasm_lite(code[start:-8], CAVE + start))
    assert sum(length for _, length, _, _ in decoded) == len(code) - start - 8
    assert {mnemonic for _, _, mnemonic, _ in decoded} <= {"mov", "movabs", "syscall", "jmp"}
    assert all("[" not in operands for *_, operands in decoded[:-1]), (
        "no instruction but the jump looks at memory"
    )
    assert decoded[-1][2:] == ("jmp", "qword ptr [rip]")
