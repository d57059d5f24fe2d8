# SPDX-License-Identifier: GPL-2.0-or-later
"""The child processes in which processes are changed.

Each is forked before the work begins, in a session of its own: killing or interrupting the command does not stop a
change that has begun; the child finishes the process it is at, takes no other, and ends.
"""

from __future__ import annotations

import os
import pickle
import select
import selectors
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from typing import Any, Final

from host.errors import Error, ExitStatus
from ulp.processors import staying_here
from ulp.tracee import hold_sigchld

_NUMBER: Final = struct.Struct("<I")
_PIPE_FILL: Final = 8192  # numbers that a pipe takes at once (65,536 bytes, pipe(7))
_PROCESSES_PER_CHILD: Final = 4  # fewer are not worth another child
_MOST_CHILDREN: Final = 16
# what a terminal or an impatient shell sends; what a surgeon has begun is finished all the same
_IGNORED: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE
)  # fmt: skip


class SurgeonDied(Exception):
    """A child ended before its work was done."""


_answers = -1  # in a surgeon: where its answers go


def abandoned() -> bool:
    """Say, in a surgeon, whether nobody waits for its answers any more: the command was interrupted or killed."""
    if _answers < 0:
        return False
    poll = select.poll()
    poll.register(_answers, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def children_for(count: int) -> int:
    """Return how many children to use for so many processes."""
    return max(1, min(os.cpu_count() or 1, count // _PROCESSES_PER_CHILD, _MOST_CHILDREN))


def operate(pids: Sequence[int], work: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
    """Yield (pid, answer of ``work``) for each process, in the order in which they are done.

    ``work`` runs in a child and must not raise; its answer is pickled. Raises SurgeonDied, and Error without a child.
    """
    # one pipe hands out the numbers: whoever is free reads the next one
    queue_read, queue_write = os.pipe2(os.O_CLOEXEC)
    queue = open(queue_write, "wb", buffering=0)  # noqa: SIM115  closed below, or as soon as all is handed out
    channels: list[tuple[int, int]] = []
    for _ in range(children_for(len(pids))):
        read, write = os.pipe2(os.O_CLOEXEC)
        with staying_here() as be_free:
            try:
                child = os.fork()
            except OSError as error:  # as many processes as this user may have
                os.close(read)
                os.close(write)
                if channels:  # those that there are do it
                    break
                os.close(queue_read)
                queue.close()
                raise Error(
                    f"no process can be started to work in: {error.strerror}",
                    hint="See ulimit -u, and pids.max of the control group.",
                    status=ExitStatus.UNAVAILABLE,
                ) from error
            if child == 0:
                be_free()
                queue.close()
                os.close(read)
                for earlier, _ in channels:
                    os.close(earlier)
                _be_surgeon(queue_read, write, work)
        os.close(write)
        channels.append((read, child))
    os.close(queue_read)
    try:
        yield from _collect(pids, queue, channels)
    finally:
        queue.close()
        for read, _ in channels:  # all of them first: who still has a listener takes the next number
            os.close(read)
        for _, child in channels:
            os.waitpid(child, 0)


def _be_surgeon(queue: int, answers: int, work: Callable[[int], Any]) -> None:
    """Work until the queue or the command ends; never returns."""
    global _answers  # noqa: PLW0603  a surgeon has one channel for its whole life
    status = 1
    _answers = answers
    try:
        os.setsid()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        hold_sigchld()
        while not abandoned() and (data := os.read(queue, _NUMBER.size)):
            pid = _NUMBER.unpack(data)[0]
            answer = pickle.dumps((pid, work(pid)), protocol=pickle.HIGHEST_PROTOCOL)
            message = _NUMBER.pack(len(answer)) + answer
            while message:
                message = message[os.write(answers, message) :]
        status = 0
    except BrokenPipeError:
        status = 0
    finally:
        os._exit(status)


def _collect(
    pids: Sequence[int], queue: FileIO, channels: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Any]]:
    waiting = list(pids)
    buffers = {read: bytearray() for read, _ in channels}
    os.set_blocking(queue.fileno(), False)
    done = 0
    with selectors.DefaultSelector() as selector:
        for read in buffers:
            selector.register(read, selectors.EVENT_READ)
        selector.register(queue, selectors.EVENT_WRITE)
        while buffers:
            for key, _ in selector.select():
                if key.fileobj is queue:
                    batch = waiting[: _PIPE_FILL // 2]
                    try:
                        sent = queue.write(b"".join(map(_NUMBER.pack, batch))) or 0
                    except BrokenPipeError:  # every child has died
                        sent, waiting = 0, []
                    del waiting[: sent // _NUMBER.size]
                    if not waiting:
                        selector.unregister(queue)
                        queue.close()
                    continue
                data = os.read(key.fd, 1 << 16)
                buffer = buffers[key.fd]
                buffer += data
                while len(buffer) >= _NUMBER.size:
                    size = _NUMBER.size + _NUMBER.unpack_from(buffer)[0]
                    if len(buffer) < size:
                        break
                    yield pickle.loads(bytes(buffer[_NUMBER.size : size]))
                    done += 1
                    del buffer[:size]
                if not data:
                    selector.unregister(key.fd)
                    del buffers[key.fd]
    if done != len(pids):
        raise SurgeonDied
