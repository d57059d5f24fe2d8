# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory for a container is mapped by one thread of the process, through code that is put there for a moment.

The code lies in the unused rest of a page of some object's code, and needs no tool to finish
(ulp/arch/x86_64_stub.py). One thread stands for this, preferably one that waits in a system call and that nothing is
sent to; all others run on.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from host import procfs
from ulp.arch import x86_64 as arch
from ulp.arch import x86_64_stub as stub
from ulp.arch.x86_64_stub import DESCRIPTOR, Call
from ulp.process import Object, Process
from ulp.result import Reason, Refusal
from ulp.standstill.borrow import find_cave, ignored_signals, in_restartable_sequence, signals_to_block
from ulp.standstill.filters import seccomp_refusal
from ulp.standstill.stop import Momentary, seize
from ulp.tracee import Gone, OtherArchitecture, Thread, wait_for_news

_LONGEST_STEP: Final = 1.0  # seconds that one system call may take before the thread counts as unable to run
_MAP_PRIVATE: Final = 0x02
_MAP_ANONYMOUS: Final = 0x20
_MAP_FIXED_NOREPLACE: Final = 0x100000
_MFD_CLOEXEC: Final = 1
_MFD_ALLOW_SEALING: Final = 2
_MFD_NOEXEC_SEAL: Final = 8
_F_ADD_SEALS: Final = 1033
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE
_THREADS_TO_TRY: Final = 8
_TOO_MANY_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


class Region(NamedTuple):
    """Memory to be mapped, in the process's own addresses."""

    address: int
    size: int
    protection: int
    file_offset: int | None  # into the memfd; None for anonymous memory


class Block(NamedTuple):
    """All that is mapped for one container: the memfd's name, its contents (offset, bytes) and the regions."""

    name: bytes
    file_size: int
    contents: tuple[tuple[int, bytes], ...]
    regions: tuple[Region, ...]


class PlaceTaken(Momentary):
    """Something has been mapped at the chosen place meanwhile."""

    def __init__(self) -> None:
        super().__init__(Reason.NO_ROOM, "it maps memory faster than a place can be found")


def map_block(process: Process, block: Block, objects: Sequence[Object], *, suspend_seccomp: bool) -> float:
    """Map a block; returns the seconds that one thread stood for it.

    Raises Refusal, Momentary, PlaceTaken, DirtyCave, and leaves nothing mapped then. Has to run in a tracing thread.
    """
    return _make(process, _calls(block), objects, block=block, suspend_seccomp=suspend_seccomp)


def unmap_block(process: Process, block: Block, objects: Sequence[Object], *, suspend_seccomp: bool) -> None:
    """Unmap a block that nothing leads to; raises what ``map_block`` raises."""
    calls = [
        Call(number=arch.SYS_MUNMAP, arguments=(region.address, region.size)) for region in block.regions
    ]
    _make(process, calls, objects, block=None, suspend_seccomp=suspend_seccomp)


def _make(
    process: Process,
    calls: Sequence[Call],
    objects: Sequence[Object],
    *,
    block: Block | None,
    suspend_seccomp: bool,
) -> float:
    """Let one thread make system calls; returns the seconds that it stood."""
    size = stub.longest(len(calls), name=len(block.name) if block is not None else 0)
    cave = find_cave(objects, process, size=size)
    ignored = ignored_signals(process.pid)
    thread, begin = _choose_thread(process, calls, cave, suspend_seccomp=suspend_seccomp)
    work = _Calls(process, thread, cave, block, ignored=ignored)
    try:
        work.make(calls)
    finally:
        thread.detach()
        pause = time.perf_counter() - begin
        if not work.is_inside:  # else whoever comes next takes it away, when the thread has run through
            process.memory.write(cave, bytes(size))
    return pause


@functools.cache
def _memfd_flags() -> int:
    """MFD_NOEXEC_SEAL where the kernel has it (6.3): it works whatever vm.memfd_noexec says."""
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        os.close(os.memfd_create("ulp", flags | _MFD_NOEXEC_SEAL))
    except OSError:
        return flags
    return flags | _MFD_NOEXEC_SEAL


def _calls(block: Block) -> list[Call]:
    calls = [Call(number=arch.SYS_MEMFD_CREATE, arguments=(0, _memfd_flags()))]
    # what is labelled comes first: whatever is mapped after it can be found again by it
    for region in sorted(block.regions, key=lambda region: region.file_offset is None):
        flags = _MAP_PRIVATE | _MAP_FIXED_NOREPLACE | (_MAP_ANONYMOUS if region.file_offset is None else 0)
        arguments = (
            region.address, region.size, region.protection, flags, DESCRIPTOR, region.file_offset or 0,
        )  # fmt: skip
        calls.append(Call(number=arch.SYS_MMAP, arguments=arguments))
    calls.append(Call(number=arch.SYS_CLOSE, arguments=(DESCRIPTOR,)))
    return calls


class _Calls:
    """Makes system calls in a thread that stands, and takes them back when one of them fails."""

    def __init__(
        self, process: Process, thread: Thread, cave: int, block: Block | None, *, ignored: int
    ) -> None:
        self._process = process
        self._thread = thread
        self._cave = cave
        self._block = block
        self._ignored = ignored
        self._undo: list[Call] = []
        self.is_inside = False  # whether the thread is, or may be, in the code

    def make(self, calls: Sequence[Call]) -> None:
        """Make the calls; raises Refusal and PlaceTaken with all of them taken back."""
        error = self._run(calls, self._took)
        if not error:
            return
        if self._undo:
            self._run(self._undo, lambda *_: 0)
        if error == errno.EEXIST:
            raise PlaceTaken
        if error in _TOO_MANY_FILES:  # one of them may be closed a moment later
            raise Momentary(Reason.NO_DESCRIPTOR, f"the code cannot be mapped in it: {os.strerror(error)}")
        if error == errno.EAGAIN:  # after mlockall(2)
            raise Refusal(Reason.NO_MEMORY, "it may lock no more memory (RLIMIT_MEMLOCK)")
        reason = Reason.NO_MEMORY if error == errno.ENOMEM else Reason.NOT_PERMITTED
        raise Refusal(reason, f"mapping memory in the process failed: {os.strerror(error)}")

    def _took(self, call: Call, result: int) -> int:
        """Take the result of a call; returns an error number, or 0 to go on."""
        if result < 0:
            return -result
        if call.number == arch.SYS_MEMFD_CREATE:
            self._undo.append(Call(number=arch.SYS_CLOSE, arguments=(result,)))
            return self._fill(result)
        if call.number == arch.SYS_MMAP:
            address, size, *_ = call.arguments
            self._undo.append(Call(number=arch.SYS_MUNMAP, arguments=(result, size)))
            # a kernel before 4.17 takes the address as a hint only
            return 0 if result == address else errno.EEXIST
        return 0

    def _fill(self, descriptor: int) -> int:
        """Write the memfd's contents from here; returns an error number or 0."""
        assert self._block is not None
        try:
            file = os.open(
                f"/proc/{self._process.pid}/task/{self._thread.tid}/fd/{descriptor}",
                os.O_RDWR | os.O_CLOEXEC,
            )
        except OSError as error:
            return error.errno or errno.EACCES
        try:
            os.ftruncate(file, self._block.file_size)
            for offset, data in self._block.contents:
                os.pwrite(file, data, offset)
            fcntl.fcntl(file, _F_ADD_SEALS, _SEALS)
        except OSError as error:
            return error.errno or errno.EIO
        finally:
            os.close(file)
        return 0

    def _run(self, calls: Sequence[Call], took: Callable[[Call, int], int]) -> int:
        """Let the thread make the calls until ``took`` returns an error number; returns that, or 0.

        Afterwards the thread has its own registers and signal mask again.
        """
        thread = self._thread
        saved = list(thread.registers)
        mask = thread.signal_mask()
        code, start = stub.assemble(
            calls,
            address=self._cave,
            registers=arch.after_restart(thread.registers),
            signal_mask=mask,
            name=self._block.name if self._block is not None else b"",
        )
        # a process that has replaced its program meanwhile has other memory: this write fails then
        self._process.memory.write(self._cave, code)
        arch.enter(thread.registers, self._cave + start)
        self.is_inside = True
        thread.write_registers()
        try:
            thread.set_signal_mask(signals_to_block(self._ignored, mask=mask))
            for call in calls:
                self._step()
                self._step()
                error = took(call, arch.result(thread.registers))
                if error:
                    return error
        finally:
            self._give_back(saved, mask)
        return 0

    def _step(self) -> None:
        """Run to the next entry into or exit from a system call."""
        thread = self._thread
        deadline = time.monotonic() + _LONGEST_STEP
        thread.resume_to_system_call()
        while True:
            if not thread.poll_stopped():
                if time.monotonic() > deadline:
                    raise Refusal(Reason.NOT_RUNNING, f"thread {thread.tid} does not get to run (frozen?)")
                wait_for_news(_LONGEST_STEP)
            elif thread.at_system_call:
                return
            else:  # one that is ignored, or SIGSTOP: that stops the process, and this thread when it is let go
                thread.resume_to_system_call()

    def _give_back(self, saved: list[int], mask: int) -> None:
        thread = self._thread
        if not thread.stopped:
            thread.interrupt()
            deadline = time.monotonic() + _LONGEST_STEP
            while not thread.poll_stopped():
                if time.monotonic() > deadline:
                    raise Gone  # it can only go on by itself; the code it is in ends without us
                wait_for_news(0.01)
        for index, value in enumerate(saved):
            thread.registers[index] = value
        # the mask first: if the tool dies in between, the code gives the registers back, and nobody the mask
        thread.set_signal_mask(mask)
        thread.write_registers()
        self.is_inside = False


def _choose_thread(
    process: Process, calls: Sequence[Call], cave: int, *, suspend_seccomp: bool
) -> tuple[Thread, float]:
    """Return a thread that stands and may make the calls, and when it was stopped; raises Refusal and Momentary."""
    refusal: Refusal | None = None
    for tid in _candidates(process.pid)[:_THREADS_TO_TRY]:
        thread = Thread(tid)
        begin = time.perf_counter()
        if not seize(process.pid, thread, children=False, suspend_seccomp=suspend_seccomp):
            continue
        try:
            if _is_usable(process, thread):
                if suspend_seccomp:
                    return thread, begin
                undo = Call(number=arch.SYS_MUNMAP, arguments=(cave, arch.PAGE))
                mask = Call(number=arch.SYS_RT_SIGPROCMASK, arguments=(2, cave, 0, 8))
                refusal = seccomp_refusal(process.pid, thread, (*calls, undo, mask), pc=cave)
                if refusal is None:
                    return thread, begin
        except Gone:
            continue
        except BaseException:
            thread.detach()
            raise
        thread.detach()
    if refusal is not None:
        raise refusal
    raise Momentary(Reason.NOT_RUNNING, "no thread of the process could be used to map memory")


def _candidates(pid: int) -> list[int]:
    """Return the threads that may stand for a moment, the best first.

    What is sent to a thread that is traced, even if the process ignores it, the kernel gives to another that runs,
    whose wait may end in EINTR (sig_ignored() and complete_signal() in kernel/signal.c). So rather not the main
    thread, which stands for the process, nor a parent, which gets the SIGCHLD.
    """
    candidates = []
    for tid in procfs.threads(pid):
        state = procfs.task_state(pid, tid)
        if state is not None and state.state not in "ZXD" and not state.flags & procfs.NO_USER_CODE:
            candidates.append((state.state == "R", procfs.has_children(pid, tid), tid == pid, tid))
    return [tid for *_, tid in sorted(candidates)]


def _is_usable(process: Process, thread: Thread) -> bool:
    """Stop a thread; says whether it may be led aside for a moment."""
    thread.interrupt()
    deadline = time.monotonic() + _LONGEST_STEP
    while True:
        try:
            if thread.poll_stopped():
                break
        except OtherArchitecture:
            raise Refusal(Reason.OTHER_ARCHITECTURE) from None
        if time.monotonic() > deadline:
            return False
        wait_for_news(0.01)
    if thread.signal:
        return False
    if not arch.runs_64_bit(thread.registers):
        raise Refusal(Reason.OTHER_ARCHITECTURE)
    return arch.in_system_call(thread.registers) or not in_restartable_sequence(process.memory, thread)
