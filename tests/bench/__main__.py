# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure zypp-livepatch against its goals and, where they are there, its peers (docs/benchmarks.md)."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from host.errors import ExitStatus
from tests.bench import machine, tools
from tests.bench.plan import THREADS, Plan
from tests.bench.report import Row, table, write

BENCHMARKS = (
    "pause",
    "patches",
    "trigger",
    "single",
    "commands",
    "memory",
    "commit",
    "lifecycle",
    "klp",
    "watch",
    "startup",
)


def run_all(names: list[str], plan: Plan, *, progress: bool) -> list[Row]:
    """Run the named benchmarks."""
    rows: list[Row] = []
    for name in names:
        if progress:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.bench.{name}").run(plan)
    return rows


def main(arguments: list[str] | None = None) -> ExitStatus:
    """Run from the command line; FAILED when a goal is missed or an answer is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks, all by default: {', '.join(BENCHMARKS)}"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), metavar="FILE", help="result as JSON"
    )
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="runs of each measurement")
    parser.add_argument(
        "--threads", type=int, nargs="+", metavar="N", help="only these numbers of threads (pause)"
    )
    parser.add_argument(
        "--drop-caches", action="store_true", help="also measure with an emptied page cache (single)"
    )
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.repeats < 1:
        parser.error("--repeats needs a number from 1 on")

    started, load = time.time(), machine.load()
    with tempfile.TemporaryDirectory(prefix="zypp-livepatch-bench-") as directory:
        plan = Plan(
            directory=Path(directory),
            ours=tools.ours(),
            libpulp=tools.libpulp(),
            libcare=tools.libcare(),
            repeats=options.repeats,
            drop_caches=options.drop_caches,
            threads=tuple(options.threads or THREADS),
        )
        rows = run_all(options.names or list(BENCHMARKS), plan, progress=True)
    about = machine.describe() | {"load_before": load, "load_after": machine.load(), "time": int(started)}
    print(table(rows))
    noise = f"load {load[0]} before and {machine.load()[0]} after"
    print(f"{about['processors']} processors, {noise}; {options.json}")
    write(options.json, rows, machine=about)
    failed = any(row.wrong or row.reached is False for row in rows)
    return ExitStatus.FAILED if failed else ExitStatus.OK


if __name__ == "__main__":
    sys.exit(main())
