# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion for zsh: what its own ``_arguments`` (zshcompsys(1)) wants to know of each option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from spec.completion.words import Command, Option, Value, commands, fill
from spec.programs import Program

_OFFER = {"": "", "processes": "@function@_processes", "users": "_users"}


def script(program: Program) -> str:
    """Return what zsh reads from /usr/share/zsh/site-functions/_PROGRAM."""
    table = commands(program)
    body = _arguments(table[0], indent=2) if program.single else _cases(table)
    return fill("zsh", program, table, body=body)


def _cases(table: Sequence[Command]) -> str:
    common, *named = table
    listed = "\n".join(f"    {shlex.quote(f'{command.name}:{command.summary}')}" for command in named)
    names = "|".join(command.name for command in named)
    cases = "\n".join(f"    {command.name})\n{_arguments(command, indent=6)}\n      ;;" for command in named)
    return f"""\
  local -a commands=(
{listed}
  )
  local -a earlier=(${{words[2,CURRENT-1]}})
  case ${{earlier[(r)({names})]}} in
{cases}
    *)
      if [[ $PREFIX == -* ]]; then
{_arguments(common, indent=8)}
      else
        _describe -t commands 'command' commands
      fi
      ;;
  esac"""


def _arguments(command: Command, *, indent: int) -> str:
    specifications = [each for option in command.options for each in _option(option)]
    if command.name:
        specifications.append("1: :")  # the command itself
    if command.words:
        place = "*" if command.many_words else "2" if command.name else "1"
        specifications.append(place + _value(command.words))
    lines = [f"{' ' * indent}_arguments -s -S :"]
    lines += [f"{' ' * indent}  {shlex.quote(each)}" for each in specifications]
    return " \\\n".join(lines)


def _option(option: Option) -> Iterator[str]:
    """Yield one specification for each name: a value can follow ``--name`` in the same word or in the next."""
    for name in option.names:
        others = " ".join(option.names)
        excluded = "*" if option.repeats else f"({others})"
        value, joined = "", ""
        if option.value is not None:
            value, joined = _value(option.value), "=" if name.startswith("--") else "+"
        yield f"{excluded}{name}{joined}[{_escaped(option.help)}]{value}"


def _value(value: Value) -> str:
    what = _OFFER[value.special]
    if value.files and value.words:
        what = f'{{compadd -- {" ".join(value.words)}; _files -g "{value.files}"}}'
    elif value.files:
        what = {"*": "_files", "*/": "_files -/"}.get(value.files, f'_files -g "{value.files}"')
    elif value.words:
        what = f"({' '.join(value.words)})"
    return f":{_escaped(value.name)}:{what}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\:\[\]])", r"\\\1", text)
