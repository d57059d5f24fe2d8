# SPDX-License-Identifier: GPL-2.0-or-later
"""An x86_64 machine that QEMU emulates: no KVM, no file, no path, nothing that outlives the test.

Its clock counts instructions and skips whatever time it idles away (``-icount``, QEMU's docs/devel/tcg-icount.rst):
how busy this machine is changes nothing inside, and a wait of a minute takes a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tests.support.machine.apt import Unavailable

PROGRAM = "qemu-system-x86_64"
_HARDWARE = (
    # Without what is slow to emulate: repeated string instructions, a fifth level of page tables, locks on memory.
    # And without cmpxchg16b: QEMU 7.2 makes its flags of a stale state, and an interrupt right behind it keeps them.
    *(
        "-accel",
        "tcg",
        "-machine",
        "pc",
        "-cpu",
        "max,la57=off,-erms,-fsrm,-smap,-smep,-umip,-cx16",
        "-m",
        "640",
    ),
    *("-nodefaults", "-no-reboot", "-display", "none", "-icount", "shift=2,sleep=off"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
)
# Without what takes a booting kernel long and has nothing to do with live patches; what makes it safe makes it slow.
_COMMAND_LINE = (
    "console=ttyS0 panic=-1 quiet mitigations=off init_on_alloc=0 nokaslr apparmor=0 audit=0 acpi=off no_timer_check "
    "cryptomgr.notests initcall_blacklist=load_system_certificate_list"
)
_PATIENCE = 120.0  # seconds of this machine's clock for what takes some; other tests may run beside


class MachineError(Exception):
    """The machine did not do what it was told; the text has what its console shows."""


class Emulator:
    """A running machine: its console, its second serial line, and QEMU's own control line."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        console: BinaryIO,
        line: socket.socket,
        control: socket.socket,
    ) -> None:
        self._process = process
        self._console = console
        self._line = line
        self._control = control
        self._received = {line: b"", control: b""}
        self._message(control)  # the greeting
        self._command("qmp_capabilities")
        while self._command("query-status")["status"] == "inmigrate":
            time.sleep(0.005)  # what would be sent to it now is lost

    def receive(self) -> dict[str, Any]:
        """Return the next message of the guest; raises MachineError if none comes."""
        return self._message(self._line)

    def send(self, message: object) -> None:
        """Send a message to the guest, and let it go on if it stands still."""
        self._command("cont")
        self._line.sendall(json.dumps(message).encode() + b"\n")

    def pause(self) -> None:
        """Let the guest stand still, its clock included."""
        self._command("stop")

    def save(self, state: BinaryIO) -> None:
        """End the machine and write its state, from which it can go on any number of times."""
        self._command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self._command("getfd", fdname="state", descriptor=state.fileno())
        self._command("migrate", uri="fd:state")
        while (status := self._command("query-migrate")["status"]) != "completed":
            if status == "failed":
                raise MachineError("the machine's state cannot be saved")
            time.sleep(0.01)

    def ended(self) -> int:
        """Wait for the machine's end and return the value that its last words had, -1 if it had none."""
        try:
            status = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise MachineError(f"the machine does not end\n{self.console()}") from None
        return status >> 1 if status & 1 else -1

    def console(self) -> str:
        """Return what the kernel has printed."""
        self._console.seek(0)
        return self._console.read().decode(errors="replace")

    def _command(self, name: str, *, descriptor: int | None = None, **arguments: object) -> Any:
        request = json.dumps({"execute": name, "arguments": arguments}).encode()
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._control, [request], descriptors)
        while True:
            answer = self._message(self._control)
            if "error" in answer:
                raise MachineError(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _message(self, connection: socket.socket) -> dict[str, Any]:
        while b"\n" not in self._received[connection]:
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                data = b""
            if not data:
                raise MachineError(f"the machine is silent\n{self.console()}")
            self._received[connection] += data
        line, _, self._received[connection] = self._received[connection].partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def emulator(image: Path, root: BinaryIO, *, state: BinaryIO | None = None) -> Iterator[Emulator]:
    """Start a machine with a kernel and an initial root, or let it go on from a saved state; raises Unavailable."""
    if not shutil.which(PROGRAM):
        raise Unavailable(f"{PROGRAM} is not installed (Debian's package qemu-system-x86)")
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(tempfile.TemporaryFile())
        line, guest_line = map(stack.enter_context, socket.socketpair())
        control, guest_control = map(stack.enter_context, socket.socketpair())
        passed = [console.fileno(), guest_line.fileno(), guest_control.fileno(), root.fileno()]
        words = [
            # dies with this process, however that dies
            *("setpriv", "--pdeathsig", "KILL", PROGRAM, *_HARDWARE),
            *("-kernel", str(image), "-append", _COMMAND_LINE, "-initrd", f"/proc/self/fd/{root.fileno()}"),
            *("-chardev", f"file,id=console,append=on,path=/proc/self/fd/{console.fileno()}"),
            *("-chardev", f"socket,id=line,fd={guest_line.fileno()}"),
            *("-serial", "chardev:console", "-serial", "chardev:line"),
            *("-chardev", f"socket,id=control,fd={guest_control.fileno()}"),
            *("-mon", "chardev=control,mode=control"),
        ]
        if state is not None:
            opened = _opened(state, os.O_RDONLY, stack)  # with an offset of its own
            passed.append(opened)
            words += ["-incoming", f"fd:{opened}"]
        for connection in (line, control):
            connection.settimeout(_PATIENCE)
        errors = _opened(console, os.O_WRONLY | os.O_APPEND, stack)
        process = subprocess.Popen(
            words, pass_fds=passed, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        guest_line.close()
        guest_control.close()
        try:
            yield Emulator(process, console, line, control)
        finally:
            process.kill()
            process.wait()


def _opened(file: BinaryIO, flags: int, stack: contextlib.ExitStack) -> int:
    """Open a file once more."""
    descriptor = os.open(f"/proc/self/fd/{file.fileno()}", flags | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
