# SPDX-License-Identifier: GPL-2.0-or-later
"""Every benchmark runs, with tiny sizes, is right about what it changed, and writes the documented JSON."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench import machine, tools
from tests.bench.__main__ import BENCHMARKS
from tests.bench.plan import Plan
from tests.bench.report import SCHEMA, Row, write
from tests.support.libpulp import needs_libpulp, peer
from tests.support.watching import untold

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = ("libpulp", "ulp-pulp")
KEYS: dict[str, tuple[type, ...]] = {
    "benchmark": (str,),
    "case": (str,),
    "tool": (str,),
    "unit": (str,),
    "values": (list,),
    "median": (int, float, type(None)),
    "min": (int, float, type(None)),
    "max": (int, float, type(None)),
    "goal": (int, float, type(None)),
    "reached": (bool, type(None)),
    "touched": (dict,),
    "wrong": (str,),
    "recorded": (str,),
    "note": (str,),
}


TRIES = 5
BESIDE_LIBPULP = ("pause", "patches", "trigger", "single", "commands")


@needs_libpulp
@pytest.mark.parametrize("name", BESIDE_LIBPULP)
def test_benchmark_runs_beside_libpulp(name: str, tmp_path: Path) -> None:
    ours = tools.ours()
    libpulp = tools.Ulp("libpulp", peer().tool, peer().library, is_ours=False)
    plan = Plan.tiny(tmp_path, ours=ours, libpulp=libpulp)
    for _ in range(TRIES):
        rows: list[Row] = list(importlib.import_module(f"tests.bench.{name}").run(plan))
        # libpulp's tool gives up without a word when a process of another test cannot be looked at
        if {row.tool for row in rows if row.wrong} != {"libpulp"}:
            break
    assert [(row.tool, row.case, row.wrong) for row in rows if row.wrong] == []
    cases = {tool: {row.case for row in rows if row.values and row.tool == tool} for tool in TOOLS}
    assert cases["libpulp"] and cases["libpulp"] <= cases["ulp-pulp"]
    assert [row.case for row in rows if row.tool == "ulp-pulp" and row.goal is not None]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_runs_and_writes_the_documented_json(name: str, tmp_path: Path) -> None:
    rows: list[Row] = list(
        importlib.import_module(f"tests.bench.{name}").run(Plan.tiny(tmp_path, ours=tools.ours()))
    )
    assert [row.wrong for row in rows if row.wrong] == []
    if name == "watch" and (why := untold()):
        assert [(row.values, row.note) for row in rows] == [((), why)]
        pytest.skip(why)
    assert any(row.values and row.tool == "ulp" for row in rows)
    write(tmp_path / "new" / "bench.json", rows, machine=machine.describe())
    document: dict[str, Any] = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert document["schema"] == SCHEMA
    assert document["machine"]["processors"] >= 1
    for entry in document["rows"]:
        assert entry.keys() == KEYS.keys()
        assert [key for key, types in KEYS.items() if not isinstance(entry[key], types)] == []
