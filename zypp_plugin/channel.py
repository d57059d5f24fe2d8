# SPDX-License-Identifier: GPL-2.0-or-later
"""How the worker tells a waiting plugin what it does: JSON messages over a Unix socket.

The plugin listens in the abstract namespace (unix(7)): there is no file to leave behind, a full disk does
not matter, and the end of the worker shows as the end of the connection. The worker never depends on a
listener.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

_LARGEST = 1 << 16  # bytes of a message
_STARTING = 8.0  # seconds until the worker must have connected
_INTERVAL = 0.2  # seconds between two messages about progress
_LAST_WORDS = (
    10.0  # seconds for the last message to find room; only a plugin that does not read lets them pass
)


class Listener:
    """The plugin's end."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind("")  # the kernel chooses a name
        self._socket.listen(1)
        self.address = self._socket.getsockname().hex()

    def wait(
        self, *, until: float, zypper: int, on_progress: Callable[[int, int], None]
    ) -> tuple[str, dict[str, object]]:
        """Wait for the worker's last message, until a time of time.monotonic().

        Returns a word and that message: ``done``; ``working`` (not done in time, or the user has pressed
        Ctrl-C); ``missing`` (the worker never came); ``died``; ``alone`` (zypper, whose pipe is ``zypper``,
        has gone).
        """
        started = time.monotonic()
        with _interruptions() as interrupted:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.register(interrupted, select.POLLIN)
            poll.register(zypper, 0)  # only its end: POLLHUP
            peer: socket.socket | None = None
            while (left := until - time.monotonic()) > 0:
                if peer is None and time.monotonic() - started > _STARTING:
                    return "missing", {}
                for fd, _ in poll.poll(min(left, 1.0) * 1000):
                    if fd == zypper:
                        return "alone", {}
                    if fd == interrupted:
                        return "working", {}
                    if peer is None:
                        peer = self._accept()
                        if peer is not None:
                            poll.unregister(self._socket)
                            poll.register(peer, select.POLLIN)
                        continue
                    message = _decode(peer.recv(_LARGEST))
                    if message is None:
                        return "died", {}
                    if "line" in message:
                        return "done", message
                    done, total = message.get("done"), message.get("total")
                    if isinstance(done, int) and isinstance(total, int):
                        on_progress(done, total)
        return "working", {}

    def _accept(self) -> socket.socket | None:
        """Accept the worker; anybody may connect to an abstract address, so only our own user is heard."""
        peer, _ = self._socket.accept()
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] == os.geteuid():
            return peer
        peer.close()
        return None


class Speaker:
    """The worker's end; without a listener, every message goes nowhere."""

    def __init__(self, address: str) -> None:
        self._socket: socket.socket | None = None
        self._next = 0.0
        if not address:
            return
        speaker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            speaker.connect(bytes.fromhex(address))
            speaker.setblocking(False)
            self._socket = speaker
        except (OSError, ValueError):
            speaker.close()

    def progress(self, done: int, total: int) -> None:
        """Tell how many processes have been looked at, now and then: what nobody reads yet is kept."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _INTERVAL
            self._send({"done": done, "total": total})

    def finish(self, *, line: str, mood: str) -> None:
        """Tell the result: one line for people and ``good``, ``partly`` or ``bad``."""
        if self._socket is not None:
            self._socket.settimeout(_LAST_WORDS)
        self._send({"line": line, "mood": mood})

    def _send(self, message: dict[str, object]) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # nobody listens any more, or not fast enough
                self._socket.send(json.dumps(message).encode())


def _decode(data: bytes) -> dict[str, object] | None:
    """Return a message, empty if it makes no sense; None at the end."""
    if not data:
        return None
    try:
        message = json.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


@contextlib.contextmanager
def _interruptions() -> Iterator[int]:
    """Let Ctrl-C show as input on a descriptor, where it is otherwise ignored."""
    source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield source
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(before)
        os.close(source)
        os.close(sink)
