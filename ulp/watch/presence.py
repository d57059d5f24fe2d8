# SPDX-License-Identifier: GPL-2.0-or-later
"""That a watcher runs: a lock that ends with it, in a file that says what it has done, readable for all."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import Final

from host.errors import BadDataError, Error, ExitStatus
from host.names import command

FILE: Final = "/run/zypp-livepatch/watch"
UNIT: Final = "zypp-livepatch-watch.service"
_LARGEST: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a watcher says of itself."""

    pid: int
    started: float  # seconds since the epoch
    live_patches: int = 0  # that it would apply
    patched: int = 0  # processes that it has patched
    failed: int = 0  # processes that it could not patch
    overruns: int = 0  # times that events were lost and all processes looked at
    problem: str = ""  # why it applies nothing, or not all


class Presence:
    """The lock; held until the process ends."""

    def __init__(self) -> None:
        """Raise Error (busy) when another watcher runs."""
        try:
            os.makedirs(os.path.dirname(FILE), mode=0o755, exist_ok=True)
            self._descriptor = os.open(FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = read()
            who = f", process {other.pid}" if other else ""
            raise Error(
                f"a watcher runs already{who}",
                hint=f"One is enough. 'systemctl status {UNIT}' shows it; "
                f"'{command('ulp status')}' tells what it has done.",
                status=ExitStatus.BUSY,
            ) from error
        except OSError as error:
            raise Error(
                f"{FILE} cannot be used: {error.strerror}", status=ExitStatus.CANNOT_CREATE
            ) from error

    def tell(self, state: State, *, ready: bool = False) -> None:
        """Say to all, and to systemd, how it stands."""
        text = json.dumps(asdict(state)).encode() + b"\n"
        try:
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        except OSError:  # a full /run is no reason to stop
            pass
        patches = "live patch" if state.live_patches == 1 else "live patches"
        processes = "process" if state.patched == 1 else "processes"
        status = state.problem or f"{state.live_patches} {patches}; {state.patched} {processes} patched"
        _notify(f"STATUS={status}" + ("\nREADY=1" if ready else ""))


def read() -> State | None:
    """Return what the running watcher says; None when none runs."""
    try:
        descriptor = os.open(FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            values = json.loads(os.pread(descriptor, _LARGEST, 0) or b"{}")
            return State(**{name: values[name] for name in State.__slots__ if name in values})
    except (OSError, ValueError, TypeError) as error:
        raise BadDataError(f"{FILE} cannot be understood: {error}") from error
    finally:
        os.close(descriptor)


def _notify(message: str) -> None:
    """Tell systemd (sd_notify(3)), if it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            pass
