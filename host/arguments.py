# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and words of one command: any order, POSIX or not, with errors and a --help of our own wording.

Commands fill a parser as they would fill argparse's. What argparse leaves to chance (words between
options, ``--``, help that differs from one Python to the next) is done here: the words are sorted into
options and others first, and argparse only converts and stores.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from typing import NoReturn

from host.errors import UsageError
from host.terminal import COLOR_CHOICES, Paint, wrap

_HELP_COLUMN = 26


class Parser(argparse.ArgumentParser):
    """The parser of one command, filled through ``add_argument``; options take no value or one."""

    def __init__(self, *, command: str, document: str) -> None:
        super().__init__(prog=command, add_help=False, allow_abbrev=False, formatter_class=_formatter)
        self.document = document
        common = self.add_argument_group("Common options")
        common.add_argument("-h", "-?", "--help", action="store_true", help="show this help")
        common.add_argument("--usage", action="store_true", help="show all options in a few lines")
        common.add_argument("-V", "--version", action="store_true", help="show the version")
        common.add_argument(
            "--color",
            choices=COLOR_CHOICES,
            default="auto",
            metavar="WHEN",
            type=_color,
            help="colours: auto (on a terminal, unless NO_COLOR is set), yes, no",
        )
        common.add_argument(
            "--debug", action="store_true", help="show a traceback when something goes wrong"
        )
        self._common = common
        self._young = {"--debug", "--json"}

    def young(self, *names: str) -> None:
        """Name options that abbreviations in old scripts cannot mean; they yield to an older one that fits."""
        self._young.update(names)

    def split(self, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
        """Sort the arguments into options, each in one piece with its value, and other words.

        Raises UsageError for an option that does not exist, lacks its value or has one too many.
        """
        options: list[str] = []
        words: list[str] = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument == "--":
                return options, words + rest
            if argument.startswith("--"):
                name, equals, value = argument.partition("=")
                action = self._option(self._complete(name))
                if action.nargs == 0:
                    if equals:
                        raise UsageError(f"{name} takes no value, but got '{value}'")
                    options.append(action.option_strings[-1])
                else:
                    options += self._with_value(action, name, value if equals else None, rest)
            elif len(argument) > 1 and argument.startswith("-"):
                for at, letter in enumerate(argument[1:], start=2):
                    action = self._option(f"-{letter}")
                    if action.nargs != 0:
                        options += self._with_value(action, f"-{letter}", argument[at:] or None, rest)
                        break
                    options.append(action.option_strings[-1])
            else:
                words.append(argument)
        return options, words

    def convert(self, options: list[str], words: list[str]) -> argparse.Namespace:
        """Return what the options and words of ``split`` mean; raises UsageError."""
        namespace, extra = self.parse_known_args([*options, *(("--", *words) if words else ())])
        surplus = [word for word in extra if word != "--"]
        if surplus:
            raise UsageError(f"'{surplus[0]}' is one word too many")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say as a UsageError."""
        missing = message.partition("arguments are required: ")[2]
        raise UsageError(f"{missing} is missing" if missing else message.removeprefix("argument "))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            name = "/".join(action.option_strings) or str(action.metavar or action.dest)
            raise UsageError(
                f"{name} takes {enumerate_words(choices)}, not '{value}'",
                hint=did_you_mean(str(value), choices),
            )

    def _complete(self, name: str) -> str:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        possible = [option for option in known if option.startswith(name)]
        if name in known or not possible:
            return name
        old = [option for option in possible if option not in self._young]
        for candidates in (old, possible):
            if len({self._option_string_actions[option].dest for option in candidates}) == 1:
                return candidates[0]
        raise UsageError(f"{name} could be {enumerate_words(possible)}")

    def _option(self, name: str) -> argparse.Action:
        action = self._option_string_actions.get(name)
        if action is None:
            raise UsageError(
                f"there is no option {name}",
                hint=did_you_mean(name, self._option_string_actions, usual=self.hint),
            )
        return action

    def _with_value(
        self, action: argparse.Action, name: str, value: str | None, rest: list[str]
    ) -> tuple[str, ...]:
        if value is None:
            if not rest:
                raise UsageError(f"{name} needs a value", hint=self.hint)
            value = rest.pop(0)
        option = action.option_strings[-1]
        if option.startswith("--"):
            return (f"{option}={value}",)
        return (option + value,) if value else (option, value)

    @property
    def hint(self) -> str:
        """Where the command is explained."""
        return f"'{self.prog} --help' shows what it understands."

    def help(self, *, paint: Paint, width: int) -> str:
        """Return the text of --help in at most ``width`` columns."""
        blocks = [
            f"{paint.strong('Usage:')} {self.synopsis}",
            "\n".join(wrap(self.summary, width)),
            *(_paragraph(block, width) for block in self.description_blocks),
        ]
        for title, actions in self.groups():
            entries = [
                line for action in actions for line in entry(invocation(action), explanation(action), width)
            ]
            blocks.append("\n".join([paint.strong(f"{title}:"), *entries]))
        return "\n\n".join(blocks) + "\n"

    @property
    def summary(self) -> str:
        """What the command does, in one line."""
        return self.document.partition("\n")[0].strip()

    @property
    def description_blocks(self) -> list[str]:
        """What else there is to say, in blocks as they are written: paragraphs, lists, examples."""
        rest = self.document.partition("\n")[2]
        return [block for block in rest.strip("\n").split("\n\n") if block.strip()]

    def groups(self) -> list[tuple[str, list[argparse.Action]]]:
        """Return what is explained to users: titles, and the words or options below each; what is common last."""
        titles = {"positional arguments": "Words", "options": "Options"}
        groups = []
        for group in sorted(self._action_groups, key=lambda group: group is self._common):
            actions = [each for each in group._group_actions if each.help and each.help != argparse.SUPPRESS]
            if actions:
                groups.append((titles.get(str(group.title), str(group.title)), actions))
        return groups

    @property
    def synopsis(self) -> str:
        """How the command is written."""
        if self.usage:
            return self.usage
        return " ".join([self.prog, "[OPTION]...", *map(word_form, self._get_positional_actions())])


def invocation(action: argparse.Action) -> str:
    """Return how an option or word is written: ``-p, --process X``, ``    --json``, ``FILE``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    text = ", ".join(action.option_strings)
    if not any(not option.startswith("--") for option in action.option_strings):
        text = f"    {text}"
    if action.nargs == 0:
        return text
    return f"{text}{'=' if action.option_strings[-1].startswith('--') else ' '}{value_name(action)}"


def value_name(action: argparse.Action) -> str:
    """Return how an option's value is written: ``FILE``, ``default|strict``."""
    choices = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    return str(action.metavar or choices)


def word_form(action: argparse.Action) -> str:
    """Return how often a word may be written: ``FILE``, ``[FILE]``, ``FILE...``, ``[FILE]...``."""
    name = str(action.metavar or action.dest)
    return {"?": f"[{name}]", "*": f"[{name}]...", "+": f"{name}..."}.get(str(action.nargs), name)


def explanation(action: argparse.Action) -> str:
    """Return what a word or option does, defaults filled in; "" where nobody says."""
    return (action.help or "") % vars(action)


def entry(left: str, right: str, width: int, *, column: int = _HELP_COLUMN) -> list[str]:
    """Return one entry of a list in --help: what is written on the left, from ``column`` on what it does."""
    lines = wrap(right, max(width - column, 20))
    left = f"  {left}"
    if len(left) < column:
        return [left.ljust(column) + lines[0], *(" " * column + line for line in lines[1:])]
    return [left, *(" " * column + line for line in lines)]


def _paragraph(block: str, width: int) -> str:
    lines = block.splitlines()
    if any(line.startswith((" ", "* ")) for line in lines):  # an example or a list stays as it is written
        return "\n".join(lines)
    return "\n".join(wrap(" ".join(lines), width))


def enumerate_words(words: Sequence[str]) -> str:
    """Return ``a, b or c``."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def did_you_mean(word: str, known: Iterable[str], *, usual: str = "") -> str:
    """Return a question with the nearest known word, or the usual hint where none is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else usual


def positive_integer(text: str) -> int:
    """Convert a value of the command line; for ``type=`` of an option."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not '{text}'")
    return number


def seconds(text: str) -> float:
    """Convert a value of the command line, 0 or more and finite; for ``type=`` of an option."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 or more, not '{text}'")
    return number


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return what argparse checks names of values with; without a width it would import shutil to ask for one."""
    return argparse.HelpFormatter(prog, width=80)


def _color(text: str) -> str:
    """Accept the words that other tools use for the same."""
    for choice, words in {
        "yes": ("y", "on", "always", "true", "1"),
        "no": ("n", "off", "never", "false", "0"),
    }.items():
        if text in words:
            return choice
    return text
