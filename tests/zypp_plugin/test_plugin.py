# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin as libzypp meets it: a process that answers frames on pipes, in commits that do not concern it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

PLUGIN = Path(sys.prefix, "bin/zypp-livepatch-commit")
PATIENCE = 20.0  # seconds
STEPS = b'{"TransactionStepList": [{"type": "+"%s, "solvable": {"n": "foo", "v": "1", "r": "1", "a": "noarch"}}]}'
BEGIN, END = STEPS % b"", STEPS % b', "stage": "ok"'


class Libzypp:
    """The other end of the plugin's pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._data = b""

    def say(self, data: bytes) -> None:
        """Write to the plugin."""
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def hear(self) -> bytes:
        """Return the next answer, without its NUL; fails when it does not come."""
        assert self.process.stdout
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._data:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no answer, so far {self._data!r}"
            chunk = os.read(self.process.stdout.fileno(), 65536)
            assert chunk, f"the plugin has gone, it said {self._data!r}"
            self._data += chunk
        answer, _, self._data = self._data.partition(b"\0")
        return answer

    def ask(self, command: bytes, body: bytes = b"") -> bytes:
        """Send one frame and return the answer."""
        self.say(command + b"\n\n" + body + b"\0")
        return self.hear()


@contextmanager
def plugin(**options: object) -> Iterator[Libzypp]:
    """Start the plugin with its standard error as libzypp makes it: a pipe that does not block."""
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETFL, os.O_NONBLOCK)
    process = subprocess.Popen(
        [PLUGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sink,
        bufsize=0,
        cwd="/",
        **options,  # type: ignore[call-overload]
    )
    try:
        yield Libzypp(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()
        os.close(source)
        os.close(sink)


def test_a_commit_that_does_not_concern_us() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"PLUGINBEGIN\nuserdata:abc") == b"ACK\n\n"
        assert zypp.ask(b"COMMITBEGIN", BEGIN) == b"ACK\n\n"
        assert zypp.ask(b"COMMITEND", END) == b"ACK\n\n"
        assert zypp.ask(b"PLUGINEND") == b"ACK\n\n"
        assert zypp.ask(b"_DISCONNECT") == b"ACK\n\n"
        assert zypp.process.wait(PATIENCE) == 0
        assert zypp.process.stdout and zypp.process.stdout.read() == b""


def test_frames_of_other_kinds_are_answered_as_unknown() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"PACKAGESETCHANGED") == b"_ENOMETHOD\nCommand:PACKAGESETCHANGED\n\n"
        assert zypp.ask(b"_DISCONNECT") == b"ACK\n\n"


def test_nonsense_is_answered_with_an_error_and_the_plugin_goes_on() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"no header here\nnone").startswith(b"ERROR\nmessage:")
        assert zypp.ask(b"COMMITBEGIN", b"{").startswith(b"ERROR\nmessage:")
        assert zypp.ask(b"COMMITEND", b"[]").startswith(b"ERROR\nmessage:")
        assert zypp.ask(b"COMMITEND", END) == b"ACK\n\n"
        assert zypp.ask(b"_DISCONNECT") == b"ACK\n\n"


def test_the_end_of_zypper_is_the_end_of_the_plugin() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"COMMITBEGIN", BEGIN) == b"ACK\n\n"
        assert zypp.process.stdin
        zypp.process.stdin.close()
        assert zypp.process.wait(PATIENCE) == 0


def test_a_zypper_that_does_not_read_is_no_traceback() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"PLUGINBEGIN") == b"ACK\n\n"
        assert zypp.process.stdout
        zypp.process.stdout.close()
        zypp.say(b"COMMITBEGIN\n\n" + BEGIN + b"\0")
        assert zypp.process.wait(PATIENCE) == 1


def test_ctrl_c_is_for_zypper() -> None:
    with plugin() as zypp:
        assert zypp.ask(b"PLUGINBEGIN") == b"ACK\n\n"
        zypp.process.send_signal(signal.SIGINT)
        assert zypp.ask(b"COMMITEND", END) == b"ACK\n\n"


def test_a_full_standard_error_holds_nothing_up() -> None:
    with plugin() as zypp:
        for _ in range(2000):
            assert zypp.ask(b"bad\nframe " + b"x" * 60).startswith(b"ERROR")


@settings(max_examples=30)
@given(
    st.lists(
        st.sampled_from(
            [
                b"COMMITBEGIN",
                b"COMMITEND",
                b"PLUGINEND",
                b"\n",
                b"\n\n",
                b"\0",
                BEGIN,
                END,
                b"{",
                b"k:v",
                b"\xff",
            ]
        ),
        max_size=12,
    )
)
def test_any_sequence_ends_without_a_traceback(pieces: list[bytes]) -> None:
    done = subprocess.run([PLUGIN], input=b"".join(pieces), capture_output=True, timeout=PATIENCE, cwd="/")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"defect" not in done.stderr
    assert re.fullmatch(rb"((ACK|ERROR|_ENOMETHOD)\n([^\0]+\n)?\n\0)*", done.stdout), done.stdout


def test_an_ordinary_commit_imports_next_to_nothing() -> None:
    code = "import sys; old = set(sys.modules); import zypp_plugin.plugin; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {
        name
        for name in loaded
        if name.partition(".")[0] in {"host", "klp", "lifecycle", "ulp", "zypp_plugin"}
    }
    assert ours == {
        "lifecycle",
        "lifecycle.kinds",
        "zypp_plugin",
        *(f"zypp_plugin.{name}" for name in ("commit", "frames", "plugin", "transaction")),
    }
    dear = {
        "argparse",
        "dataclasses",
        "inspect",
        "pathlib",
        "rpm",
        "socket",
        "subprocess",
        "tempfile",
        "typing",
    }
    assert not loaded & dear
