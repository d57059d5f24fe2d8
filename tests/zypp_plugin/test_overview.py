# SPDX-License-Identifier: GPL-2.0-or-later
"""Findings become one answer, and metrics."""

from __future__ import annotations

import dataclasses
import datetime
import re

import pytest

from host.errors import ExitStatus
from zypp_plugin.metrics import text
from zypp_plugin.overview import Finding, Overview, Processes, Standing, Support

EMPTY = Overview(
    cve="",
    findings=(),
    processes=Processes(),
    restarts=(),
    reboot=False,
    kernel=(),
    supports=(),
    watcher=False,
)


def overview(*standings: Standing) -> Overview:
    findings = tuple(Finding(part="kernel", standing=each, sentence=f"it is {each}") for each in standings)
    return dataclasses.replace(EMPTY, findings=findings)


@pytest.mark.parametrize(
    ("standings", "status", "sentence"),
    [
        ([], 3, "not known whether covered"),
        ([Standing.COVERED], 0, "covered"),
        ([Standing.COVERED, Standing.UNKNOWN], 3, "not known whether covered: it is unknown"),
        ([Standing.UNKNOWN, Standing.TODO], 1, "something is to be done: it is something-to-do"),
        ([Standing.NOT_COVERED, Standing.TODO], 2, "not covered: it is not-covered"),
    ],
)
def test_the_worst_is_the_answer(standings: list[Standing], status: int, sentence: str) -> None:
    found = overview(*standings)
    assert (found.status, found.sentence) == (ExitStatus(status), sentence)


def test_until_when() -> None:
    days = [datetime.date(2030, 1, 2), None, datetime.date(2029, 5, 6)]
    supports = tuple(Support(package=f"p{n}", evr="1-1", until=day) for n, day in enumerate(days))
    found = dataclasses.replace(overview(Standing.COVERED), supports=supports, cve="CVE-2025-1234")
    assert (
        found.sentence
        == "covered against CVE-2025-1234, by live patches that are maintained until 2029-05-06"
    )


def test_metrics_are_what_prometheus_reads() -> None:
    hostile = 'a"b\\c\nd\udcff'
    found = dataclasses.replace(
        overview(Standing.TODO),
        processes=Processes(covered=3, stuck=1),
        kernel=((hostile, "in-effect"),),
        supports=(Support(package="p", evr="1-1", until=datetime.date(1970, 1, 2), update="2-1"),),
        reboot=True,
    )
    lines = text(found, now=1234567890.25).split("\n")
    assert lines.pop() == ""
    sample = re.compile(r'zypp_livepatch_[a-z_]+(\{([a-z]+="([^"\\\n]|\\[\\"n])*",?)*\})? -?[0-9.e+]+')
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    assert r'zypp_livepatch_kernel_patch{patch="a\"b\\c\nd\\udcff",state="in-effect"} 1' in lines
    assert 'zypp_livepatch_status{status="something-to-do"} 1' in lines
    assert 'zypp_livepatch_supported_until_timestamp_seconds{package="p",version="1-1"} 86400' in lines
    assert "zypp_livepatch_reboot_needed 1" in lines
    assert "zypp_livepatch_checked_timestamp_seconds 1234567890.25" in lines
