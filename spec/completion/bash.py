# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion for bash (4.4 and later): a table of options and what their values are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from spec.completion.words import Command, Value, commands, fill
from spec.programs import Program


def script(program: Program) -> str:
    """Return what bash reads from /usr/share/bash-completion/completions/PROGRAM."""
    table = commands(program)
    names = [command.name for command in table if command.name]
    cases = []
    for command in table:
        words = command.words if command.name or not names else Value(words=tuple(names))
        options = " ".join(_options(command))
        kind = shlex.quote(_kind(words))
        cases.append(f"        {shlex.quote(command.name)}) options=({options}) words={kind} ;;")
    return fill("bash", program, table, names="|".join(names) or "''", cases="\n".join(cases))


def _options(command: Command) -> Iterator[str]:
    for option in command.options:
        for name in option.names:
            yield f"[{name}]={shlex.quote(_kind(option.value))}"


def _kind(value: Value | None) -> str:
    """Return the value as the template's code understands it; "" where there is none."""
    if value is None:
        return ""
    if value.files:
        return " ".join(("files", value.files, *value.words))
    if value.words:
        return " ".join(("words", *value.words))
    return value.special or "anything"
