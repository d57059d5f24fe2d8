# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``make demo`` shows is true, and nothing of it stays."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.demo.record import record
from tests.support.sandbox import PROJECT


def test_the_recording_in_the_readme() -> None:
    svg = (PROJECT / "docs/recording.svg").read_text()
    for picture in (svg, record()):
        words = re.sub(r"<[^>]*>|&#160;|\s", "", picture)
        assert "all3processesthatuselibexample.so.1runthefixedfunctions" in words
        assert "CoveredagainstCVE-2026-12345." in words and "SUCCESS" in words


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        cwd=PROJECT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(tmp_path), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "six times seven is 41" in done.stdout
    assert "✓ the right answer, from the same process" in done.stdout
    assert "✓ the same server answers with the new function" in done.stdout
    assert "the only process that uses libanswer.so.0 runs the fixed functions" in done.stdout
    assert "\nLive patching: both processes that use libcrypto.so.3 run the fixed functions\n" in done.stdout
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert (done.stderr, "getcwd" in done.stdout) == ("", False)
    assert list(tmp_path.iterdir()) == []
