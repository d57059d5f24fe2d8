# SPDX-License-Identifier: GPL-2.0-or-later
"""Records for systemd's journal and for syslog, as their protocols want them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zypp_plugin import journal


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        yield listener


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_NATIVE", str(tmp_path / "native"))
    monkeypatch.setattr(journal, "_SYSLOG", str(tmp_path / "syslog"))


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with listening(tmp_path / "native") as native, listening(tmp_path / "syslog") as syslog:
        assert journal.write(
            "two\nlines \udcff",
            priority=journal.WARNING,
            fields={"ZYPP_LIVEPATCH_STATE": "done\nMESSAGE=forged"},
        )
        lines = native.recv(65536).decode().splitlines()
        assert lines[0] == "MESSAGE=two lines \\udcff"
        assert "PRIORITY=4" in lines
        assert "ZYPP_LIVEPATCH_STATE=done MESSAGE=forged" in lines
        assert len(lines) == 5
        syslog.setblocking(False)
        with pytest.raises(BlockingIOError):
            syslog.recv(10)


def test_syslog_gets_a_line(tmp_path: Path) -> None:
    with listening(tmp_path / "syslog") as syslog:
        assert journal.write("done", priority=journal.ERROR)
        assert syslog.recv(65536) == f"<27>zypp-livepatch[{os.getpid()}]: done".encode()


def test_nobody_listens() -> None:
    assert not journal.write("done", priority=journal.INFO)


def test_a_full_socket_holds_nothing_up(tmp_path: Path) -> None:
    with listening(tmp_path / "native"):
        written = [journal.write("x" * 1000, priority=journal.INFO) for _ in range(2000)]
    assert written[0]
    assert not written[-1]
