# SPDX-License-Identifier: GPL-2.0-or-later
"""One record for the journal with fields of ours, or one for syslog; where neither listens, none.

systemd's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) and syslog's (RFC 3164) are datagrams to a
socket: nothing to install, and nothing waits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

IDENTIFIER = "zypp-livepatch"
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # syslog(3)
_FACILITY = 3  # LOG_DAEMON
_NATIVE = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"
_LONGEST = 8000  # bytes of a message; datagrams have a limit


def write(message: str, *, priority: int, fields: Mapping[str, str] | None = None) -> bool:
    """Write one record; returns whether somebody took it. The message becomes one line."""
    text = " ".join(message.split()).encode(errors="backslashreplace")[:_LONGEST]
    lines = {
        "MESSAGE": text,
        "PRIORITY": str(priority).encode(),
        "SYSLOG_IDENTIFIER": IDENTIFIER.encode(),
        "SYSLOG_FACILITY": str(_FACILITY).encode(),
        **{
            name: " ".join(value.split()).encode(errors="backslashreplace")
            for name, value in (fields or {}).items()
        },
    }
    native = b"".join(name.encode() + b"=" + value + b"\n" for name, value in lines.items())
    classic = f"<{_FACILITY * 8 + priority}>{IDENTIFIER}[{os.getpid()}]: ".encode() + text
    return _send(_NATIVE, native) or _send(_SYSLOG, classic)


def _send(path: str, data: bytes) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(data, path)
        except OSError:  # nobody is there, or too busy
            return False
    return True
