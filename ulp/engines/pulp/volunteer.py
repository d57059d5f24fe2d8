# SPDX-License-Identifier: GPL-2.0-or-later
"""Which thread of a process that stands may call into libpulp, and what it must not be in the middle of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ulp import elf_constants as c
from ulp.arch import x86_64 as arch
from ulp.arch.x86_64_pulp import ALLOCATING_CALLS, LOADING_CALLS
from ulp.arch.x86_64_stub import Call
from ulp.memory import Memory, Unreadable
from ulp.process import Object
from ulp.result import Reason, Refusal
from ulp.standstill.borrow import in_restartable_sequence
from ulp.standstill.filters import seccomp_refusal
from ulp.standstill.stop import Momentary
from ulp.tracee import Thread

_SELF: Final = 0x10  # offset of a thread control block's pointer to itself, the same in glibc and musl


def choose(pid: int, memory: Memory, threads: Sequence[Thread]) -> Thread:
    """Return the thread to call with: the main thread if that can be, else one that waits in a system call.

    Raises Momentary when none can at this instant.
    """
    controls = [thread.registers[arch.FS_BASE] for thread in threads]
    for thread in sorted(threads, key=lambda t: (t.tid != pid, not arch.in_system_call(t.registers), t.tid)):
        control = thread.registers[arch.FS_BASE]
        if (
            thread.stopped
            and not thread.signal
            and arch.runs_64_bit(thread.registers)
            # one that is creating a thread has no result yet, which the kernel would put into our call's registers and
            # withhold from the thread; one that has just been created is not ready for the C library's code
            and thread.registers[arch.ORIG_RAX] not in arch.CREATING_CALLS
            # what clone(2) made without a control block of its own cannot run the C library's code
            and (thread.tid == pid or controls.count(control) == 1)
            and _is_control_block(memory, control)
            and (arch.in_system_call(thread.registers) or not in_restartable_sequence(memory, thread))
        ):
            return thread
    raise Momentary(Reason.NOT_RUNNING, "no thread of the process can call libpulp at this instant")


def _is_control_block(memory: Memory, address: int) -> bool:
    try:
        return memory.word(address + _SELF) == address
    except Unreadable:
        return False


def refuse_filtered(pid: int, thread: Thread, *, pc: int, loads: bool) -> None:
    """Raise Refusal (seccomp) when the thread may not do what libpulp needs; ``loads``: it loads a container."""
    needed = LOADING_CALLS if loads else ALLOCATING_CALLS
    calls = (Call(number=number, arguments=arguments) for number, arguments in needed)
    refusal = seccomp_refusal(pid, thread, calls, pc=pc)
    if refusal is not None:
        deed = "has to load the container" if loads else "may have to allocate memory"
        raise Refusal(refusal.reason, f"{refusal.detail}, and libpulp {deed}")


def linker_data(objects: Iterable[Object]) -> list[tuple[int, int]]:
    """Return (start, end) of where the dynamic linker, which is one of the objects, keeps its locks."""
    return [
        (linker.bias + load.address, linker.bias + load.address + load.memory_size)
        for linker in objects
        if linker.image.soname.startswith("ld")
        for load in linker.image.loads
        if load.flags & c.PF_W
    ]


def refuse_contended(threads: Iterable[Thread], data: Iterable[tuple[int, int]]) -> None:
    """Raise Momentary when a thread waits for a lock of the dynamic linker, whose data is what ``linker_data`` says.

    libpulp takes such a lock's value, 2, for a defect of its own, and takes no more patches for ever after.
    """
    for thread in threads:
        if thread.registers[arch.ORIG_RAX] == arch.SYS_FUTEX:
            address = thread.registers[arch.RDI]
            if any(start <= address < end for start, end in data):
                raise Momentary(Reason.LOADING, f"thread {thread.tid} waits for the dynamic linker")
