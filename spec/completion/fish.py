# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion for fish (3.0 and later): one line of ``complete`` for each option of each command."""

from __future__ import annotations

from spec.completion.words import Command, Option, Value, commands, fill
from spec.programs import Program

_SPECIAL = {"processes": "(_@function@_processes)", "users": "(__fish_complete_users)"}
_REGULAR = {"*": "", "*/": "/$", "*.so": "\\.so$", "*.so*": "\\.so", "*.dsc": "\\.dsc$"}


def script(program: Program) -> str:
    """Return what fish reads from /usr/share/fish/vendor_completions.d/PROGRAM.fish."""
    table = commands(program)
    lines = [line for command in table for line in _lines(command)]
    for command in table:
        if command.name:
            lines.append(f"{_start('')} -a {command.name} -d {_quoted(command.summary)}")
    names = " ".join(command.name for command in table if command.name)
    return fill("fish", program, table, completions="\n".join(lines), names=names)


def _lines(command: Command) -> list[str]:
    start = _start(command.name)
    lines = [f"{start} {_option(option)}" for option in command.options]
    offer = _offer(command.words) if command.words else ""
    return [*lines, start + offer] if offer else lines


def _start(command: str) -> str:
    return f"complete -c @program@ -n \"_@function@_is '{command}'\""


def _option(option: Option) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = f" -x{_offer(option.value)}" if option.value else ""
    return f"{names}{value} -d {_quoted(option.help)}"


def _offer(value: Value) -> str:
    offered = [*value.words]
    if value.files:
        offered.append(f"(_@function@_files {_quoted(_REGULAR[value.files])})")
    elif value.special:
        offered.append(_SPECIAL[value.special])
    return f" -a {_quoted(' '.join(offered))}" if offered else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
