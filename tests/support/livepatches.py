# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches for the target processes, and the command ``ulp`` as a user runs it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.containers import build_container
from tests.support.targets import Target, answers_library, workshop
from ulp.engines import EngineName

ULP = Path(sys.executable).parent / "ulp"
OLD = tuple(range(100, 110))
NEW = tuple(range(200, 210))
NEWER = tuple(range(300, 310))


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a run of ``ulp`` answered."""

    status: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The only result."""
        assert len(self.rows) == 1, self
        return self.rows[0]

    @property
    def verdict(self) -> tuple[str, str]:
        """Outcome and reason of the only result."""
        return self.row["outcome"], self.row["reason"]


def ulp(*words: str | Path, prefix: Sequence[str] = (), timeout: float = 30) -> Said:
    """Run ``ulp`` with words; ``prefix`` starts it in another way (setpriv ...)."""
    done = subprocess.run(
        [*prefix, str(ULP), *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    rows = json.loads(done.stdout).get("results", []) if "--json" in words and done.stdout.strip() else []
    return Said(status=done.returncode, rows=rows, stdout=done.stdout, stderr=done.stderr)


class Way:
    """Which engine ``trigger`` and ``change`` use."""

    engine = EngineName.AUTO


def trigger(target: Target | int, *words: str | Path, prefix: Sequence[str] = ()) -> Said:
    """``ulp trigger -p PID --json`` with further words."""
    pid = target if isinstance(target, int) else target.pid
    return ulp("trigger", "-p", str(pid), "--json", f"--engine={Way.engine}", *words, prefix=prefix)


SUCCESS = ("SUCCESS", "applied")
REVERTED = ("SUCCESS", "reverted")
ALREADY = ("SKIPPED", "already-applied")


def live_patch(
    target: Path,
    source: str,
    functions: Mapping[str, str],
    *,
    name: str = "livepatch1.so",
    references: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Path:
    """Build a container with ``build_container`` once per session; same words, same file."""
    words = (str(target), source, sorted(functions.items()), name, tuple(references), tuple(flags))
    place = workshop() / hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    if not (place / name).exists():
        place.mkdir()
        build_container(
            place, source, target=target, functions=functions, references=references, name=name, flags=flags
        )
    return place / name


def build_id(path: Path) -> str:
    """The build-id of an ELF file in hexadecimal digits."""
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    return notes.partition("Build ID: ")[2].split()[0]


def ten_functions(first: int, *, library: Path | None = None, count: int = 10, name: str = "") -> Path:
    """A container that lets ``answer_0`` to ``answer_9`` give ``first`` and what follows it."""
    source = "".join(f"long new_{n}(void) {{ return {first} + {n}; }}\n" for n in range(count))
    return live_patch(
        library or answers_library(),
        source,
        {f"answer_{n}": f"new_{n}" for n in range(count)},
        name=name or f"answers_livepatch{first}.so",
    )


def change(target: Target, container: Path, *, revert: bool = False) -> tuple[str, str]:
    """The same as ``trigger`` without a process for the command: outcome and reason."""
    from ulp.container import read
    from ulp.engines import Change, Settings
    from ulp.fleet import change as change_processes

    wanted_container = read(container)
    wanted = Change(revert=(wanted_container.patch_id,)) if revert else Change(apply=wanted_container)
    survey = change_processes([wanted], settings=Settings(engine=Way.engine), pids=[target.pid])
    (result,) = survey.results
    return result.outcome.value, result.reason.value


def changes_and_changes_back(target: Target, container: Path) -> None:
    """Apply and revert: both are reported, seen in the answers, and leave nobody stopped or traced."""
    said = trigger(target, container)
    assert said.verdict == SUCCESS and said.status == 0, said
    assert target.answers(10) == NEW
    said = trigger(target, "--revert", container)
    assert said.verdict == REVERTED and said.status == 0, said
    assert target.answers(10) == OLD
    assert target.tracer() == 0
