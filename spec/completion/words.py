# SPDX-License-Identifier: GPL-2.0-or-later
"""What can stand on a command line, in a form that is the same for all shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.arguments import Parser, explanation, value_name
from spec.programs import Program


@dataclass(frozen=True, kw_only=True)
class Value:
    """What an option's value, or a word, may be; with nothing known a shell offers nothing."""

    name: str = ""  # as --help writes it
    words: tuple[str, ...] = ()
    files: str = ""  # the names of files, or "*/" for directories only
    special: str = ""  # "processes" or "users"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option."""

    names: tuple[str, ...]
    value: Value | None
    help: str
    repeats: bool


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command; ``name`` is "" for what can stand before any command, or for the only one."""

    name: str
    summary: str
    options: tuple[Option, ...]
    words: Value | None  # besides the command's own name
    many_words: bool = False


# The names of values in --help. Each has to be here: tests/spec/test_completion.py
VALUES = {
    "CONTAINER": Value(files="*.so"),
    "DEBUGINFO": Value(files="*"),
    "DESCRIPTION": Value(files="*.dsc"),
    "DIR": Value(files="*/"),
    "FILE": Value(files="*"),
    "FUNCTION": Value(),
    "ID": Value(),
    "LIBRARY": Value(files="*.so*"),
    "N": Value(),
    "NUMBER": Value(),
    "PACKAGE": Value(),
    "PREFIX": Value(files="*/"),
    "SECONDS": Value(),
    "USER": Value(special="users"),
    "VERSION": Value(),
    "X": Value(special="processes"),
    "enable|disable": Value(words=("enable", "disable")),
    "YYYY-MM-DD": Value(),
    "target|LIBRARY": Value(words=("target",), files="*.so*"),
}


def commands(program: Program) -> list[Command]:
    """Return what the program's commands understand; a single command that nobody types has no name."""
    parsers = program.parsers()
    found = [
        _command("" if program.single else name, parser)
        for name, parser in zip(program.commands, parsers, strict=True)
    ]
    if program.single:
        return found
    common = _options(parsers[0].groups()[-1][1])
    return [Command(name="", summary="", options=common, words=None), *found]


def fill(shell: str, program: Program, table: Iterable[Command], **parts: str) -> str:
    """Return the shell's code for a program: its template, each @part@ of it replaced."""
    text = _read(f"template.{shell}")
    if any(
        option.value and option.value.special == "processes" for each in table for option in each.options
    ):
        text = text.replace("\n\n", f"\n\n{_read(f'processes.{shell}')}\n", 1)
    for name, part in (parts | {"program": program.name, "function": _function(program)}).items():
        text = text.replace(f"@{name}@", part)
    return text


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _function(program: Program) -> str:
    return f"_{program.name.replace('-', '_')}"


def _command(name: str, parser: Parser) -> Command:
    actions = [action for _, group in parser.groups() for action in group]
    word = next((action for action in actions if not action.option_strings), None)
    return Command(
        name=name,
        summary=parser.summary,
        options=_options(actions),
        words=_value(word) if word else None,
        many_words=word is not None and word.nargs in ("*", "+"),
    )


def _options(actions: Iterable[argparse.Action]) -> tuple[Option, ...]:
    return tuple(
        Option(
            names=tuple(name for name in action.option_strings if name != "-?"),  # a wildcard in shells
            value=None if action.nargs == 0 else _value(action),
            help=explanation(action),
            repeats=isinstance(action, argparse._AppendAction | argparse._CountAction),
        )
        for action in actions
        if action.option_strings
    )


def _value(action: argparse.Action) -> Value:
    name = value_name(action)
    if action.choices:
        return Value(name=name, words=tuple(map(str, action.choices)))
    known = VALUES.get(name, Value())
    return Value(name=name, words=known.words, files=known.files, special=known.special)
