# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of processes that start and end: the process events connector.

Linux's Documentation/driver-api/connector.rst and include/uapi/linux/{connector,cn_proc,filter}.h. It tells of every
process of the machine, by its number in the first process namespace, and only where that and the first network
namespace are ours. A filter in the kernel lets only three kinds of events through, and none about threads.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from typing import Final

from host.errors import Error, ExitStatus

EXEC: Final = 0x00000002
FORK: Final = 0x00000001
EXIT: Final = 0x80000000
_NONE: Final = 0x00000000  # the answer to our subscription

_NETLINK_CONNECTOR: Final = 11
_CN_IDX_PROC, _CN_VAL_PROC = 1, 1
_LISTEN: Final = 1  # PROC_CN_MCAST_LISTEN
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_CN_MSG: Final = struct.Struct("=IIIIHH")
_EVENT: Final = struct.Struct("=IIQIIII")  # what, cpu, timestamp_ns, the first four numbers of event_data
_AT: Final = _HEADER.size + _CN_MSG.size
_FIELDS: Final = _AT + 16  # of event_data
ROOM: Final = 16 << 20  # bytes of events that may wait: some 15,000
_PATIENCE: Final = 2000  # milliseconds for the kernel's answer
_FIRST_NAMESPACE: Final = 0xEFFFFFFC  # of processes: PROC_PID_INIT_INO in include/linux/proc_ns.h

_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_LD, _TAX, _JEQ_K, _JEQ_X, _RET = 0x20, 0x07, 0x15, 0x1D, 0x06

Event = tuple[int, int, int, int]  # what, pid, parent (of a FORK), nanoseconds of CLOCK_MONOTONIC


class Lost(Exception):
    """The kernel had no room for all events."""


class Births:
    """The connector's socket."""

    def __init__(self, *, room: int = ROOM) -> None:
        """Raise Error where the kernel does not tell us."""
        try:
            # in another namespace we would hear what others asked for, with numbers of processes that are not ours
            if os.stat("/proc/self/ns/pid").st_ino != _FIRST_NAMESPACE:
                raise OSError("this is a container")
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_CONNECTOR
            )
            self._filter()
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
            self._socket.bind((0, _CN_IDX_PROC))
            self._socket.connect((0, 0))  # so that only the kernel can send us anything (netlink(7))
            self._subscribe()
        except OSError as error:
            raise Error(
                f"the kernel does not tell of processes that start: {error.strerror or error}",
                hint="It tells root, outside of containers: in the machine's own process and network namespaces.",
                status=ExitStatus.UNAVAILABLE,
            ) from error

    def fileno(self) -> int:
        """Return the descriptor, for poll(2)."""
        return self._socket.fileno()

    def read(self) -> list[Event]:
        """Return all events that wait; raises Lost, after which those that are left can be read."""
        found: list[Event] = []
        receive = self._socket.recv
        while True:
            try:
                data = receive(256)
            except BlockingIOError:
                return found
            except OSError as error:  # ENOBUFS: netlink(7)
                raise Lost from error
            if len(data) < _AT + _EVENT.size:
                continue
            what, _, when, first, _, third, _ = _EVENT.unpack_from(data, _AT)
            if what == FORK:
                found.append((what, third, first, when))
            elif what != _NONE:
                found.append((what, first, 0, when))

    def _subscribe(self) -> None:
        """Ask for events and wait for the answer: without permission old kernels just say nothing."""
        operation = struct.pack("=I", _LISTEN)
        message = _CN_MSG.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(operation), 0) + operation
        self._socket.send(_HEADER.pack(_HEADER.size + len(message), _NLMSG_DONE, 0, 0, 0) + message)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while poll.poll(_PATIENCE):
            data = self._socket.recv(256)
            if len(data) >= _AT + _EVENT.size:
                what, _, _, refusal, *_ = _EVENT.unpack_from(data, _AT)
                if what != _NONE:
                    return
                if refusal:
                    raise OSError(refusal, os.strerror(refusal))
                return
        raise OSError("it does not answer")

    def _filter(self) -> None:
        """Let through: an exec, the birth of a process (not of a thread), the end of one, the answer."""
        # (code, jump if true, jump if not, constant); a packet's words are loaded in network byte order
        program = [
            (_LD, 0, 0, _AT),
            (_JEQ_K, 11, 0, socket.htonl(EXEC)),
            (_JEQ_K, 10, 0, _NONE),
            (_JEQ_K, 1, 0, socket.htonl(EXIT)),
            (_JEQ_K, 4, 9, socket.htonl(FORK)),
            (_LD, 0, 0, _FIELDS),  # EXIT: process_pid, process_tgid
            (_TAX, 0, 0, 0),
            (_LD, 0, 0, _FIELDS + 4),
            (_JEQ_X, 4, 5, 0),
            (_LD, 0, 0, _FIELDS + 8),  # FORK: parent_pid, parent_tgid, child_pid, child_tgid
            (_TAX, 0, 0, 0),
            (_LD, 0, 0, _FIELDS + 12),
            (_JEQ_X, 0, 1, 0),
            (_RET, 0, 0, 0xFFFFFFFF),
            (_RET, 0, 0, 0),
        ]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
        sock_fprog = struct.pack("@HP", len(program), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, sock_fprog)
