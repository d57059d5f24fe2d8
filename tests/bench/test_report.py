# SPDX-License-Identifier: GPL-2.0-or-later
"""A row tells reached from missed and right from wrong; a tool that only claims a change is found out."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.bench import tools
from tests.bench.__main__ import main
from tests.bench.plan import Plan
from tests.bench.report import Row, against, human, table
from tests.bench.target import build
from ulp.elf import Elf


@pytest.mark.parametrize("name", ["pause", "patches", "trigger", "single", "commands", "memory"])
def test_tool_that_changes_nothing_is_found_out(name: str, tmp_path: Path) -> None:
    liar = tmp_path / "ulp"
    liar.write_text("#!/bin/sh\necho '{\"results\": []}'\n")
    liar.chmod(0o755)
    rows = list(
        importlib.import_module(f"tests.bench.{name}").run(Plan.tiny(tmp_path, ours=tools.Ulp("ulp", liar)))
    )
    suspects = [row for row in rows if row.goal is not None]
    assert suspects
    # Only a list of processes that hold nothing may stay empty.
    assert [
        row.case for row in suspects if row.reached is not False and "no live patch" not in row.case
    ] == []


def test_row_knows_whether_it_reached_its_goal() -> None:
    row = Row(benchmark="b", case="c", tool="t", values=(3.0, 1.0, 2.0), goal=2.0)
    assert (row.median, row.reached) == (2.0, True)
    assert Row(benchmark="b", case="c", tool="t", values=(3.0,), goal=2.0).reached is False
    assert Row(benchmark="b", case="c", tool="t", values=(1.0,), goal=2.0, wrong="no").reached is False
    assert Row(benchmark="b", case="c", tool="t", recorded="5 ms").reached is None


def test_goal_can_be_a_part_of_what_a_peer_needs() -> None:
    peers = [
        Row(benchmark="b", case="first", tool="peer", values=(4.0,)),
        Row(benchmark="b", case="second", tool="peer", values=(4.0,), wrong="it lies"),
        Row(benchmark="b", case="noise", tool="none", values=(4.0,)),
    ]
    rows = [
        Row(benchmark="b", case=case, tool="ulp", values=(1.0,))
        for case in ("first", "second", "noise", "third")
    ]
    assert [row.goal for row in against(rows, peers, times=0.5)] == [2.0, None, None, None]


def test_table_names_every_case_and_what_is_missing() -> None:
    rows = [
        Row(benchmark="b", case="fast", tool="ulp", values=(0.001,), goal=0.002, touched={"threads": 2}),
        Row(benchmark="b", case="slow", tool="ulp", values=(0.003,), goal=0.002),
        Row(benchmark="b", case="fast", tool="peer", recorded="recorded value 5 ms"),
    ]
    _, _, fast, slow, peer = table(rows).rstrip().splitlines()
    assert fast.split() == ["fast", "ulp", *["1", "ms"] * 3, "2", "ms", "reached;", "2", "threads"]
    assert slow.endswith("MISSED")
    assert peer.endswith("not measured here; recorded value 5 ms")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.000_25, "s", "250 µs"),
        (0.0012, "s", "1.2 ms"),
        (5.19, "s", "5.19 s"),
        (20_000, "B", "20.0 kB"),
        (1_500_000, "B", "1.50 MB"),
        (2.345, "%", "2.35 %"),
        (None, "s", ""),
    ],
)
def test_numbers_read_well(value: float | None, unit: str, text: str) -> None:
    assert human(value, unit) == text


def test_two_builds_are_two_builds(tmp_path: Path) -> None:
    # or ``ulp trigger`` of one benchmark would patch the processes of another one that runs at the same time
    first, second = (build(tmp_path / name).library.read_bytes() for name in ("first", "second"))
    assert Elf(first).build_id() != Elf(second).build_id()


def test_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "no benchmark is called nonsense" in capsys.readouterr().err


def test_peer_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZLP_LIBPULP", str(tmp_path))
    with pytest.raises(
        tools.ToolError, match=r"ZLP_LIBPULP names .* where ulp and libpulp.so.0 cannot be found"
    ):
        tools.libpulp()
