# SPDX-License-Identifier: GPL-2.0-or-later
"""Real processes to be changed: compiled from tests/support/programs, started, watched from outside, killed.

Each program shares a *board* of 64-bit words with the test (a memory file that both map), so reading a
target's answers, counters and self-checks costs it no system call, no signal and no thread.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import enum
import functools
import hashlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from host import procfs

PROGRAMS = Path(__file__).parent / "programs"
WORDS = 512
PATIENCE = 10.0  # seconds that a target may take for what takes milliseconds on a quiet machine
FIRST_ANSWER = 32
FIRST_WAIT = 64


class Slot(enum.IntEnum):
    """The words of the board; the same as in programs/board.h."""

    READY = 0
    ROUNDS = 1
    ERRORS = 2
    INTERRUPTED = 3
    GAP = 4
    HANDLED = 5
    SENT = 6
    HOLD = 7
    INSIDE = 8
    STAGE = 9
    THREAD = 10
    WIDTH = 11
    CHECKS = 12
    VECTORS = 13
    SWAPS = 14
    DETAIL = 15


@functools.cache
def workshop() -> Path:
    """Return the directory of this test session's compiled programs; removed when the session ends."""
    place = Path(tempfile.mkdtemp(prefix="targets-"))
    place.chmod(0o755)  # targets of other users load their libraries from here
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def compiled(
    source: str | Path,
    *flags: str,
    name: str = "",
    libraries: Sequence[Path] = (),
    compiler: str = "gcc",
) -> Path:
    """Compile a C source (text, or a file of programs/) once per session and return the result.

    ``libraries`` are linked and found again at run time where they are now. Same words, same file.
    """
    text = source if isinstance(source, str) and "\n" in source else (PROGRAMS / source).read_text()
    stem = Path(source).stem if isinstance(source, Path) or "\n" not in source else "program"
    key = hashlib.sha256(repr((text, flags, name, libraries, compiler)).encode()).hexdigest()[:12]
    result = workshop() / key / (name or stem)
    if result.exists():
        return result
    result.parent.mkdir(exist_ok=True)
    language = "c++" if compiler == "g++" else "c"
    linked = [word for library in libraries for word in (str(library), f"-Wl,-rpath,{library.parent}")]
    command = [compiler, "-O2", "-g0", f"-I{PROGRAMS}", *flags, "-x", language, "-", "-x", "none"]
    done = subprocess.run(
        [*command, *linked, "-o", str(result)], input=text, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return result


class Preload:
    """What all targets preload, and how the library that they call is compiled for it."""

    library: Path | None = None
    flags: tuple[str, ...] = ()


class Session:
    """What makes the libraries of a test session its own, wherever its tests run."""

    number = os.getpid()


class Target:
    """A process under test and its board."""

    def __init__(self, process: subprocess.Popen[bytes], board: mmap.mmap) -> None:
        self.process = process
        self.pid = process.pid
        self._board = board

    def __getitem__(self, slot: int) -> int:
        return int(struct.unpack_from("<Q", self._board, slot * 8)[0])

    def __setitem__(self, slot: int, value: int) -> None:
        struct.pack_into("<Q", self._board, slot * 8, value)

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs (it may be stopped)."""
        return self.process.poll() is None

    def until(self, condition: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
        """Wait for a condition; fails with ``what`` and the target's state when it does not come."""
        end = time.monotonic() + patience
        while not condition():
            status = self.process.poll()
            assert status is None, f"target ended with {status} while waiting for {what}"
            assert time.monotonic() < end, f"no {what} within {patience} s: {self.describe()}"
            time.sleep(0.0005)

    def advance(self, *slots: int, by: int = 2) -> None:
        """Wait until each of the counters went up ``by`` (two rounds: one of them began after this call)."""
        for slot in slots or (Slot.ROUNDS,):
            goal = self[slot] + by
            self.until(lambda slot=slot, goal=goal: self[slot] >= goal, f"progress of {Slot(slot).name}")  # type: ignore[misc]

    def answers(self, count: int = 1, *, fresh: bool = True) -> tuple[int, ...]:
        """What the functions answer, from a round that began after this call."""
        if fresh:
            self.advance()
        return tuple(self[FIRST_ANSWER + index] for index in range(count))

    def tasks(self) -> list[Path]:
        """The directory of each thread in /proc."""
        return list(Path(f"/proc/{self.pid}/task").iterdir())

    def threads(self) -> dict[int, str]:
        """State letter of each thread (proc_pid_stat(5)), by thread id."""
        states: dict[int, str] = {}
        for task in self.tasks():
            with contextlib.suppress(OSError):
                text = (task / "stat").read_text()
                states[int(task.name)] = text.rpartition(")")[2].split()[0]
        return states

    def masks(self) -> dict[int, str]:
        """Mask of blocked signals of each thread, as /proc shows it."""
        found: dict[int, str] = {}
        for task in self.tasks():
            with contextlib.suppress(OSError):
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("SigBlk:"):
                        found[int(task.name)] = line.split()[1]
        return found

    def settle(self) -> None:
        """Wait until no thread is in its birth, which the C library gives it with all signals blocked."""
        self.until(
            lambda: not any(mask.startswith("fffffff") for mask in self.masks().values()), "all threads"
        )

    def tracer(self) -> int:
        """Pid of who traces the process, 0 for nobody."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
        return 0

    def maps(self) -> str:
        """The text of /proc/PID/maps."""
        return Path(f"/proc/{self.pid}/task/{self[Slot.THREAD] or self.pid}/maps").read_text()

    def private_code(self) -> dict[str, bytes]:
        """Bytes of each executable mapping, by its line of maps: what a dry run must leave alone."""
        code: dict[str, bytes] = {}
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for line in self.maps().splitlines():
                span, permissions = line.split()[:2]
                if "x" in permissions and "vsyscall" not in line:
                    start, end = (int(word, 16) for word in span.split("-"))
                    code[line] = os.pread(memory.fileno(), end - start, start)
        return code

    def describe(self) -> str:
        """What is on the board and what the threads do, for a failure's text."""
        board = {slot.name: self[slot] for slot in Slot}
        return f"pid {self.pid}, threads {self.threads()}, tracer {self.tracer()}, board {board}"

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)


@contextlib.contextmanager
def running(
    program: Path | str,
    *words: str,
    wrapper: Sequence[str] = (),
    inner: bool = False,
    ready: bool = True,
    environment: dict[str, str] | None = None,
) -> Iterator[Target]:
    """Start a program in a session of its own, wait until it is ready, kill all of the session at the end.

    ``wrapper`` is a command that starts it (chroot, unshare, setpriv); ``inner``: the wrapper stays and the
    target is its child.
    """
    preload = {"LD_PRELOAD": str(Preload.library)} if Preload.library else {}
    descriptor = os.memfd_create("board", 0)
    try:
        os.ftruncate(descriptor, WORDS * 8)
        board = mmap.mmap(descriptor, WORDS * 8)
        process = subprocess.Popen(
            [*wrapper, str(program), *words],
            pass_fds=[descriptor],
            env={**os.environ, **preload, **(environment or {}), "BOARD": str(descriptor)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    target = Target(process, board)
    try:
        if ready:
            target.until(lambda: target[Slot.READY] == 1, "ready")
        if inner:
            target.pid = _innermost(process.pid)
        yield target
    finally:
        _end(process)
        board.close()


def _innermost(pid: int) -> int:
    """The last of a chain of only children."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started, and wait until nothing of it is left."""
    process.kill()
    process.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while left := [pid for pid in _pids() if _session(pid) == process.pid]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < end, f"left over of {process.args!r}: {left}"
        time.sleep(0.001)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _session(pid: int) -> int:
    """The session of a process; 0 once it is dead, though a busy init may not have reaped it yet."""
    with contextlib.suppress(OSError):
        session = os.getsid(pid)
        if (state := procfs.task_state(pid, pid)) and state.state not in "ZX":
            return session
    return 0


@contextlib.contextmanager
def held(pid: int, *, by: str = "hand", deed: str = "hold") -> Iterator[int]:
    """Let another tracer hold a process, or ("again") stop it time and again; gives the tracer's pid."""
    with subprocess.Popen(
        [compiled("hand.c", name=by), deed, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tracer:
        assert tracer.stdout is not None and tracer.stdin is not None
        try:
            assert tracer.stdout.readline() == b"held\n"
            yield tracer.pid
        finally:
            tracer.kill()


def disturb(kind: str, thread: int, place: int) -> None:
    """Corrupt one ``register``, ``vector`` byte or byte of ``memory`` of a thread (see programs/hand.c)."""
    subprocess.run([compiled("hand.c"), kind, str(thread), str(place)], check=True)


def tgkill(pid: int, thread: int, number: int) -> None:
    """Send a signal to one thread (tgkill(2), which Python has for its own threads only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(234, pid, thread, number) != 0:
        raise OSError(ctypes.get_errno(), "tgkill")


def answers_library(*flags: str, name: str = "libanswers.so.0") -> Path:
    """The library that most targets call (programs/answers.c): ten functions, answering 100 to 109.

    Each test session has a build of its own, so that no other session's ``ulp`` without ``-p`` changes it.
    """
    own = f"-DSESSION={Session.number}"
    return compiled(
        "answers.c",
        "-fPIC",
        "-shared",
        f"-Wl,-soname,{name},--build-id",
        own,
        *flags,
        *Preload.flags,
        name=name,
    )


TEN_CALLS = "-DCALLS=" + " ".join(f"CALL(answer_{number})" for number in range(10))


def caller(library: Path, *flags: str, calls: Sequence[str] = (), name: str = "caller") -> Path:
    """The program that calls functions of a library in a loop; by default the ten of ``answers_library``."""
    wanted = "-DCALLS=" + " ".join(f"CALL({call})" for call in calls) if calls else TEN_CALLS
    with_held = () if calls else ("-DWITH_HELD",)
    return compiled("caller.c", wanted, *with_held, *flags, name=name, libraries=[library])


def program(name: str, library: Path | None = None) -> Path:
    """One of the programs that call ``answers_library`` (or a given build of it)."""
    return compiled(f"{name}.c", libraries=[library or answers_library()])


def closure(binary: Path) -> list[Path]:
    """The files that a dynamic binary needs to start, itself first."""
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return [binary, *(Path(word) for line in listed.splitlines() for word in line.split() if word[0] == "/")]
