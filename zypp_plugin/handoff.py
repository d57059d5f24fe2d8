# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts the worker so that it outlives the plugin, zypper, and the terminal or session they run in.

On a machine that systemd has booted (sd_booted(3)) the worker becomes a transient unit: it has its own
cgroup, is not ended by logging out, and its failures show in the journal. Elsewhere, or where systemd does
not answer, it is started by a double fork. Both get the job on standard input and inherit no descriptor.
"""

from __future__ import annotations

import base64
import errno
import os
import signal
import subprocess
import sys
import time

OUTSIDE = (
    "/proc/1/root"  # the root of the machine that runs, also for a plugin that is chrooted into a snapshot
)
_BOOTED = "/run/systemd/system"
_SYSTEMD_RUN = "/usr/bin/systemd-run"
_PATIENCE = 5.0  # seconds for systemd to accept the unit; it normally takes 20 ms
_LONGEST_ARGUMENT = 100_000  # bytes; Linux takes 128 KiB for one word (execve(2), MAX_ARG_STRLEN)
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def start_worker(job: bytes, *, outside: bool = False) -> str:
    """Start the worker on a job and return a sentence about what went wrong on the way, "" if nothing did.

    ``outside``: in the root of the machine that runs, and not in ours, which is that of a snapshot. Raises OSError
    when it could not be started at all.
    """
    if outside:
        return _outside(job)
    # -s: no packages of root's home; -P: nothing from the working directory, which is zypper's
    command = [sys.executable, "-sP", "-m", "zypp_plugin.worker"]
    environment = {
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": _HOME,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    problem = ""
    if os.path.isdir(_BOOTED) and os.access(_SYSTEMD_RUN, os.X_OK):
        problem = _start_unit(command, environment, job)
        if not problem:
            return ""
    _fork_twice(command, environment, job)
    return problem


def _outside(job: bytes) -> str:
    """Start the worker from the machine's own root, by a child that goes there."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        try:
            os.chroot(OUTSIDE)
            os.chdir("/")
            said = start_worker(job).encode(errors="replace")
        except OSError as error:
            said = b"!" + (error.strerror or "").encode()
        finally:
            os.write(sink, said)
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        os.waitpid(pid, 0)
        said = pipe.read()
    if said.startswith(b"!"):
        raise OSError(errno.ENOENT, said[1:].decode(errors="replace"))
    return said.decode(errors="replace")


def _start_unit(command: list[str], environment: dict[str, str], job: bytes) -> str:
    """Start a transient unit; returns why that failed, "" if it did not."""
    data = base64.b64encode(job).decode()
    if len(data) > _LONGEST_ARGUMENT:
        return "the job is too long for systemd-run"
    words = [
        _SYSTEMD_RUN,
        "--no-block",
        "--quiet",
        "--collect",
        "--no-ask-password",
        f"--unit=zypp-livepatch-{os.getpid()}-{time.time_ns()}",
        "--description=Live patches running processes after a zypper commit",
        "--property=StandardInput=data",
        f"--property=StandardInputData={data}",
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        "--",
        *command,
    ]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemd-run failed: {type(error).__name__}"
    if done.returncode != 0:
        why = " ".join(done.stderr.decode(errors="replace").split())[:200]
        return f"systemd-run failed with status {done.returncode}: {why}"
    return ""


def _fork_twice(command: list[str], environment: dict[str, str], job: bytes) -> None:
    source, sink = os.pipe()  # closed by a successful exec; otherwise it tells why there was none
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become(command, environment, job)
        except OSError as error:
            os.write(sink, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        os.waitpid(pid, 0)
        failure = pipe.read()
    if failure:
        raise OSError(int(failure), os.strerror(int(failure)), command[0])


def _become(command: list[str], environment: dict[str, str], job: bytes) -> None:
    """Turn this process into the worker; raises OSError."""
    memory = os.memfd_create("job")
    os.write(memory, job)
    os.lseek(memory, 0, os.SEEK_SET)
    os.dup2(memory, 0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for number in (signal.SIGINT, signal.SIGPIPE):  # ignored ones would stay ignored
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    os.umask(0o022)
    os.execve(command[0], command, environment)  # what else is open is close-on-exec (PEP 446)
