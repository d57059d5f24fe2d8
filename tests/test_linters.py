# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the house, checked by machine: format, lint, types, licence, rooms, size, ptrace."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "host": set(),
    "lifecycle": {"host"},
    "ulp": {"lifecycle", "host"},
    "klp": {"lifecycle", "host"},
    "zypp_plugin": {"ulp", "klp", "lifecycle", "host"},
    "spec": {"zypp_plugin", "ulp", "klp", "lifecycle", "host"},
}
LONGEST = 400  # lines of a module of ours


def tracked(*suffixes: str) -> list[Path]:
    """Return the files that git knows or would add, those with one of the suffixes."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [ROOT / name for name in listed if name.endswith(suffixes) and (ROOT / name).is_file()]


def modules(*rooms: str) -> list[Path]:
    found = [path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in rooms]
    assert found, f"no module in {rooms}"
    return found


def imported(path: Path) -> set[str]:
    """Return the full names of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "--diff", "--quiet"],
        ["ruff", "check", "--output-format=concise"],
        ["mypy"],
    ],
    ids=["format", "lint", "types"],
)
def test_linter(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_the_licence_comes_first() -> None:
    line = "SPDX-License-Identifier: GPL-2.0-or-later"
    lacking = []
    for path in tracked(".py", ".sh", ".c", ".h", ".toml", ".spec", ".service", ".timer", "Makefile"):
        first, *rest = [*path.read_text().splitlines()[:2], ""]
        if line not in (rest[0] if first.startswith("#!") else first):
            lacking.append(str(path.relative_to(ROOT)))
    assert not lacking


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    forbidden = (set(MAY_IMPORT) | {"tests"}) - MAY_IMPORT[room] - {room}
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(room)
        for name in imported(path)
        if name.partition(".")[0] in forbidden
    }
    assert not found


def test_no_module_grows_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules(*MAY_IMPORT)}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}


def test_every_public_module_says_what_it_is_for() -> None:
    silent = [path for path in modules(*MAY_IMPORT) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_only_the_tracee_calls_ptrace() -> None:
    found = set()
    for path in modules(*MAY_IMPORT):
        for node in ast.walk(ast.parse(path.read_text())):
            name = (
                node.id
                if isinstance(node, ast.Name)
                else node.attr
                if isinstance(node, ast.Attribute)
                else ""
            )
            if name.startswith("PTRACE_") or name == "ptrace":
                found.add(str(path.relative_to(ROOT)))
    assert found <= {"ulp/tracee.py"}
