# SPDX-License-Identifier: GPL-2.0-or-later
"""The documents keep up with the code: JSON examples, reasons, exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from host.errors import ExitStatus
from tests.support.documentation import ROOT, contradictions, examples
from ulp.result import Reason
from zypp_plugin.report import decode

BIN = Path(sys.executable).parent


def test_every_schema_that_is_written_is_documented() -> None:
    written = set()
    for path in [path for room in ("ulp", "klp", "lifecycle") for path in (ROOT / room).rglob("*.py")]:
        text = path.read_text()
        if "json_output" in text:
            written |= set(re.findall(r"\bwrite\(\s*\"([a-z-]+)\"", text))
    assert {"ulp-trigger", "ulp-patches", "ulp-check", "ulp-dump"} <= written
    assert written - {"klp-check"} <= examples().keys()
    assert "klp-check" in (ROOT / "docs/json.md").read_text()  # the same as klp-status


@pytest.mark.parametrize("command", ["status", "patches", "functions", "blocking", "wait", "doctor"])
def test_examples_of_klp(command: str) -> None:
    done = subprocess.run([BIN / "klp", command, "--json"], capture_output=True, text=True, timeout=20)
    assert contradictions(json.loads(done.stdout)) == []


def test_example_of_the_report() -> None:
    example = examples()["report"]
    assert json.loads(decode(json.dumps(example), name="example").encode()) == example


def test_a_contradiction_is_found() -> None:
    document = json.loads(json.dumps(examples()["ulp-check"]))
    document["findings"][0]["applied"] = "yes"
    document["findings"][0]["new"] = 1
    del document["unseen"]
    assert contradictions(document) == [
        ".findings[].applied: str, documented as bool",
        ".findings[].new: not documented",
        ".unseen: only documented",
    ]


def test_every_reason_is_explained() -> None:
    text = (ROOT / "docs/json.md").read_text()
    rows = [f"| {reason.outcome} | `{reason.value}`: {reason.sentence} |" for reason in Reason]
    assert [row for row in rows if row not in text.splitlines()] == []


def test_every_exit_status_is_explained() -> None:
    text = (ROOT / "docs/exit-status.md").read_text()
    assert [status for status in ExitStatus if f"\n| {status.value} | {status.name} | " not in text] == []
