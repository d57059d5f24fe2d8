# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program of subcommands, and turns whatever goes wrong into one sentence and an exit status.

A command ``some-name`` of a package is its module ``some_name``, with ``add_arguments(parser)`` and
``run(options) -> ExitStatus``; the docstring's first line says in lists what it does, the rest is the
description in its --help. Only the module of the chosen command is imported.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from host.errors import Error, ExitStatus, UsageError
from host.names import called
from host.terminal import paint, sanitize, terminal_width

if TYPE_CHECKING:
    from typing import TextIO

    from host.arguments import Parser

VERSION = "0.1.0"
PROJECT = "zypp-livepatch"
BROKEN_PIPE = 128 + 13  # what a shell shows for a program that SIGPIPE ended

_LIBRARIES = ("rpm", "solv")  # what the package requires (spec/zypp-livepatch.spec)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_WIDEST_HELP = 100


def run(*, program: str, package: str, commands: Sequence[str], argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments (the process's own unless given) name; return the exit status.

    Never raises for what a user, the machine or a defect does: errors become a sentence on standard error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    typed = called(program)
    try:
        _check_streams()
        status = int(_dispatch(typed, package, commands, arguments))
        _flush()
        return status
    except BrokenPipeError:  # the reader has seen enough
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _discard_output()
        _say(program, "interrupted")
        return ExitStatus.INTERRUPTED
    except Exception as problem:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        status, sentence, hint = _explain(problem)
        if isinstance(problem, UsageError) and not hint:
            hint = f"'{typed} --help' shows the commands, '{typed} COMMAND --help' describes one."
        _discard_output()
        _say(program, sentence, hint, color=_color(arguments))
        return status


def load(program: str, package: str, command: str) -> tuple[ModuleType, Parser]:
    """Import one command; return its module and its parser with all that it understands."""
    module = importlib.import_module(f"{package}.{command.replace('-', '_')}")
    parser = _parser(f"{program} {command}", module)
    module.add_arguments(parser)
    return module, parser


def _dispatch(program: str, package: str, commands: Sequence[str], arguments: list[str]) -> int:
    if arguments in (["-V"], ["--version"]):
        return _version(program)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    # Options may come before the command, and one's value may look like a command (-p trigger).
    refusal: UsageError | None = None
    for name in dict.fromkeys(word for word in arguments if word in commands):
        module, parser = load(program, package, name)
        try:
            options, words = parser.split(arguments)
            if words[:1] != [name]:
                continue
            if "--help" in options:
                return _help(parser)
            if "--usage" in options:
                return _usage(parser)
            if "--version" in options:
                return _version(program)
            return int(module.run(parser.convert(options, words[1:])))
        except UsageError as error:
            error.hint = error.hint or parser.hint
            refusal = refusal or error
            if arguments[0] == name:
                break
    if refusal:
        raise refusal
    return _without_command(program, package, commands, arguments)


def _without_command(program: str, package: str, commands: Sequence[str], arguments: list[str]) -> int:
    from host.arguments import did_you_mean

    parser = _parser(program, importlib.import_module(package.partition(".")[0]))
    parser.usage = f"{program} COMMAND [OPTION]... [WORD]..."
    words = arguments[:1]
    if not words or words[0].startswith("-"):
        options, words = parser.split(arguments)
        parser.convert(options, [])
        if not words and "--version" in options:
            return _version(program)
        if not words and "--usage" in options:
            return _usage(parser, words=("COMMAND", "[WORD]..."))
        if not words and "--help" in options:
            return _help(parser, commands=[(name, package) for name in commands])
    if words:
        raise UsageError(f"there is no command '{words[0]}'", hint=did_you_mean(words[0], commands))
    raise UsageError(f"a command is missing: {', '.join(commands)}")


def _parser(command: str, module: ModuleType) -> Parser:
    from host.arguments import Parser

    return Parser(command=command, document=module.__doc__ or "")


def _version(program: str) -> int:
    print(f"{program} ({PROJECT}) {VERSION}")
    return ExitStatus.OK


def _usage(parser: Parser, *, words: Sequence[str] = ()) -> int:
    from host.usage import usage

    sys.stdout.write(usage(parser, width=terminal_width() or 80, words=words))
    return ExitStatus.OK


def _help(parser: Parser, *, commands: Sequence[tuple[str, str]] = ()) -> int:
    from host.arguments import entry

    width = min(terminal_width() or 80, _WIDEST_HELP)
    ink = paint()
    text = parser.help(paint=ink, width=width)
    if commands:
        head, _, options = text.partition("\n\n" + ink.strong("Common options:"))
        lines = [ink.strong("Commands:")]
        column = max(len(name) for name, _ in commands) + 5
        for name, package in commands:
            lines += entry(name, load(parser.prog, package, name)[1].summary, width, column=column)
        text = "\n\n".join([head, "\n".join(lines), f"{ink.strong('Options:')}{options}"])
        text += f"\n'{parser.prog} COMMAND --help' describes a command.\n"
    sys.stdout.write(text)
    return ExitStatus.OK


def _check_streams() -> None:
    """See that any text can be printed, and that no standard stream's number is free for another file."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is None:  # closed by who started us, so that the next file to open would get its number
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - print() would be silent
        raise Error(
            "standard output is closed",
            hint="Send it to /dev/null to see nothing.",
            status=ExitStatus.CANNOT_CREATE,
        )
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write what is buffered now, where failing has a sentence and an exit status."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise Error(
            f"standard output cannot be written: {problem.strerror}", status=ExitStatus.CANNOT_CREATE
        ) from problem


def _discard_output(stream: TextIO | None = None) -> None:
    """Write what is buffered, or drop it: the interpreter would try once more at its end, and exit with 120."""
    stream = stream or sys.stdout
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError):
            pass


def _explain(problem: Exception) -> tuple[int, str, str]:
    if isinstance(problem, Error):
        status = problem.status if problem.foreign_status is None else problem.foreign_status
        return status, problem.sentence, problem.hint
    if isinstance(problem, OSError) and problem.strerror:
        if problem.filename is None and problem.errno in _NO_ROOM:
            return ExitStatus.CANNOT_CREATE, f"standard output cannot be written: {problem.strerror}", ""
        where = f"'{os.fsdecode(problem.filename)}': " if isinstance(problem.filename, str | bytes) else ""
        return _status_of(problem.errno), f"{where}{problem.strerror}", ""
    if isinstance(problem, ImportError) and problem.name in _LIBRARIES:
        return (
            ExitStatus.UNAVAILABLE,
            f"the library {problem.name} for Python cannot be loaded: {problem}",
            f"'zypper install python3-{problem.name}' installs it where it is missing",
        )
    return (
        ExitStatus.INTERNAL,
        f"this is a defect: {type(problem).__name__}: {problem}",
        "Please report it with what the same command says with --debug.",
    )


def _status_of(number: int | None) -> ExitStatus:
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
        return ExitStatus.NO_INPUT
    if number in (errno.EACCES, errno.EPERM):
        return ExitStatus.NOT_PERMITTED
    return ExitStatus.CANNOT_CREATE if number in _NO_ROOM else ExitStatus.UNAVAILABLE


def _color(arguments: Sequence[str]) -> str:
    """Find --color in arguments that may be wrong in any way."""
    return next((word[8:] for word in arguments if word in ("--color=yes", "--color=no")), "auto")


def _say(program: str, sentence: str, hint: str = "", *, color: str = "auto") -> None:
    ink = paint(color, stream=sys.stderr)
    lines = f"{ink.bad(program + ':')} {sanitize(sentence)}\n"
    if hint:
        lines += f"{ink.strong('hint:')} {sanitize(hint)}\n"
    try:
        sys.stderr.write(lines)
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody can be told
        _discard_output(sys.stderr)
