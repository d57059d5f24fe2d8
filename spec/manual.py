# SPDX-License-Identifier: GPL-2.0-or-later
"""Man pages in the form of man(7), made from what the commands say in their --help."""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Iterable

from host.arguments import Parser, explanation, invocation, value_name
from host.command_line import PROJECT, VERSION
from spec.documents import EXAMPLES, EXIT_STATUS, Block, blocks, exit_statuses
from spec.programs import Program
from spec.roff import bold, example, italic, item, prose, verbatim

_MANUALS = {1: "User Commands", 8: "System Administration"}
_HEAD = """\
.\\" SPDX-License-Identifier: GPL-2.0-or-later
.\\" Made by "python3 -m spec.generate" from what the commands say in their --help."""
_AT_THE_END = (EXIT_STATUS, EXAMPLES)  # of a command's section, after its options
_ORDER = (
    "Every command has them. Options and other words may come in any order; what follows -- is no option. "
    "The name of a long option may be cut short where it is clear which one is meant."
)


def page(program: Program, *, date: datetime.date) -> str:
    """Return the page of a program."""
    title = f'.TH {verbatim(program.name.upper())} {program.section} {date} "{PROJECT} {VERSION}"'
    summary = program.summary().rstrip(".")
    lines = [
        _HEAD,
        f'{title} "{_MANUALS[program.section]}"',
        ".SH NAME",
        f"{verbatim(program.name)} \\- {prose(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        "\n.br\n".join(_synopsis(parser) for parser in program.parsers()),
        ".SH DESCRIPTION",
        *(_single(program) if program.single else _several(program)),
        *_section("ENVIRONMENT", program.environment),
        *_section("FILES", program.files),
        ".SH SEE ALSO",
        ",\n".join(map(_reference, program.see_also)),
    ]
    return "\n".join(lines) + "\n"


def _single(program: Program) -> list[str]:
    parser = program.parsers()[0]
    description = blocks(program.description_blocks())
    lines = [
        prose(parser.summary),
        *_described(block for block in description if block.title not in _AT_THE_END),
    ]
    lines.append(".SH OPTIONS")
    for title, actions in parser.groups():
        lines += [f".SS {title}", *_options(actions)]
    for block in description:
        if block.title in _AT_THE_END:
            lines += [f".SH {block.title.upper()}", *_body(block)]
    return lines


def _several(program: Program) -> list[str]:
    description = _described(blocks(program.description_blocks()))
    lines = [prose(program.summary()), *description, ".SH COMMANDS"]
    parsers = program.parsers()
    for parser in parsers:
        described = blocks(parser.description_blocks)
        lines += [f".SS {verbatim(parser.prog)}", prose(parser.summary)]
        lines += _described(block for block in described if block.title not in _AT_THE_END)
        for title, actions in parser.groups()[:-1]:
            lines += [*_titled(title), *_options(actions)]
        lines += _described(block for block in described if block.title in _AT_THE_END)
    lines += [
        ".SH COMMON OPTIONS",
        prose(_ORDER),
        *_options(parsers[0].groups()[-1][1]),
        ".SH EXIT STATUS",
        prose("A command's own list goes before this one, which holds for all of them."),
    ]
    for status, meaning in exit_statuses():
        lines += item(bold(status), meaning)
    return lines


def _synopsis(parser: Parser) -> str:
    words = parser.synopsis.removeprefix(parser.prog)
    return bold(parser.prog) + re.sub("([A-Z]{2,})", r"\\fI\1\\fR", verbatim(words))


def _options(actions: Iterable[argparse.Action]) -> list[str]:
    lines = []
    for action in actions:
        lines += item(_invocation(action), explanation(action))
    return lines


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return italic(invocation(action))
    text = ", ".join(map(bold, action.option_strings))
    if action.nargs == 0:
        return text
    value = value_name(action)
    separator = "=" if action.option_strings[-1].startswith("--") else " "
    return text + separator + (verbatim(value) if action.choices and not action.metavar else italic(value))


def _described(described: Iterable[Block]) -> list[str]:
    lines = []
    for block in described:
        lines += [*(_titled(block.title) if block.title else [".PP"]), *_body(block)]
    return lines


def _titled(title: str) -> list[str]:
    return [".PP", f"{bold(title)}:"]


def _body(block: Block) -> list[str]:
    if block.rows:
        return [line for name, text in block.rows for line in item(bold(name), text)]
    return example(list(block.lines)) if block.lines else [prose(block.text)]


def _section(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    return [f".SH {title}", *(line for name, text in entries for line in item(bold(name), text))]


def _reference(page_of_manual: str) -> str:
    name, _, section = page_of_manual.partition("(")
    return f"{bold(name)}({section}"
