# SPDX-License-Identifier: GPL-2.0-or-later
"""A program of subcommands, run as a process: what it prints, and how it ends when something goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from host.command_line import VERSION

ROOT = Path(__file__).parents[2]
PROGRAM = {
    "shop/__init__.py": '"""Sells things."""\n',
    "shop/commands/__init__.py": "",
    "shop/commands/echo_back.py": '''
        """Say what was understood.

        A paragraph that is long enough to be wrapped in a terminal of eighty columns, because it goes on.

          an example   stays   as it is
        """
        import argparse, json, sys
        from host.arguments import positive_integer as number, seconds
        from host.errors import ExitStatus

        def add_arguments(parser):
            parser.add_argument("word", nargs="*", metavar="WORD", help="what to say")
            parser.add_argument("-p", "--process", action="append", default=[], metavar="X", help="some")
            parser.add_argument("-r", type=number, default=1, metavar="N", help="(default: %(default)s)")
            parser.add_argument("--timeout", type=seconds, default=2.0, metavar="SECONDS", help="patience")
            parser.add_argument("-b", action="store_true", help="b")
            parser.add_argument("-c", action="store_true", help="c")
            parser.add_argument("--revert", action="store_true", help="take back")
            parser.add_argument("--revert-all", metavar="LIBRARY", help="take all back")
            parser.add_argument("--mode", choices=("strict", "default"), help="how")
            parser.add_argument("--procedure", action="store_true", help=argparse.SUPPRESS)
            parser.young("--mode", "--procedure")

        def run(options):
            unset = ("None", "False", "[]", "1", "2.0", "'auto'")
            shown = {key: value for key, value in vars(options).items() if repr(value) not in unset}
            print(json.dumps(shown))
            if options.word == ["modules"]:
                print("shop.commands.fail" in sys.modules)
            return ExitStatus.OK
    ''',
    "shop/commands/fail.py": '''
        """Go wrong."""
        import os, sys, time
        from host.errors import BadDataError, Error, ExitStatus, UsageError

        def add_arguments(parser):
            parser.add_argument("how")

        def run(options):
            how = options.how
            if how == "error":
                raise BadDataError("the file 'a\\x1b[1mb' is cut short", hint="install it again")
            if how == "usage":
                raise UsageError("nothing to do")
            if how == "defect":
                raise RuntimeError("two\\nlines")
            if how == "missing-file":
                open("/nonexistent/file")
            if how == "missing-library":
                sys.modules["solv"] = None
                import solv
            if how == "one":
                return ExitStatus.FAILED
            if how == "wait":
                print("waiting", flush=True)
                time.sleep(30)
            if how == "much":
                for number in range(100_000):
                    print("a line of text")
            if how == "little":
                print("a line of text")
            if how == "strange":
                print("\\udcff \\u2192")
            if how == "descriptors":
                print(os.open("/dev/null", os.O_RDONLY), file=sys.stderr)
            return ExitStatus.OK
    ''',
    "shop/commands/broken.py": "import does_not_exist\n",
}


@pytest.fixture(name="shop", scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for name, text in PROGRAM.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    (folder / "main.py").write_text(
        "import sys\nfrom host.command_line import run\n"
        "sys.exit(run(program='shop', package='shop.commands', commands=('echo-back', 'fail')))\n"
    )
    return folder


def environment(shop: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "LC_ALL")}
    return {**kept, "PYTHONPATH": f"{shop}:{ROOT}", "LC_ALL": "C.UTF-8", **more}


def run_shop(shop: Path, words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(shop / "main.py"), *words],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(shop, **more),
    )


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        ("echo-back", {}),
        ("echo-back a b", {"word": ["a", "b"]}),
        ("echo-back a -b b -p 1 c --process=2", {"word": ["a", "b", "c"], "process": ["1", "2"], "b": True}),
        ("-p echo-back echo-back a", {"word": ["a"], "process": ["echo-back"]}),
        ("-p fail echo-back", {"process": ["fail"]}),
        ("--timeout 3.5 -bcp12 echo-back", {"b": True, "c": True, "process": ["12"], "timeout": 3.5}),
        ("echo-back -- -b --revert", {"word": ["-b", "--revert"]}),
        ("echo-back - --", {"word": ["-"]}),
        ("echo-back --revert", {"revert": True}),
        ("echo-back --revert-all libx.so.1", {"revert_all": "libx.so.1"}),
        ("echo-back --revert-a=target", {"revert_all": "target"}),
        ("echo-back --proc --b", {"process": ["--b"]}),
        ("echo-back -p -b", {"process": ["-b"]}),
        ("echo-back -p=a", {"process": ["=a"]}),
        ("echo-back --mode=strict", {"mode": "strict"}),
        ("echo-back --color=always", {"color": "yes"}),
        ("echo-back --color off", {"color": "no"}),
        ("echo-back --proc=1 --proced", {"process": ["1"], "procedure": True}),
        ("--m strict --mo=default echo-back", {"mode": "default"}),
    ],
)
def test_options_and_words_in_any_order(shop: Path, words: str, understood: dict[str, object]) -> None:
    for posix in ({}, {"POSIXLY_CORRECT": "1"}):
        done = run_shop(shop, words.split(), **posix)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == understood


def test_only_the_module_of_the_command_is_imported(shop: Path) -> None:
    assert run_shop(shop, ["echo-back", "modules"]).stdout.endswith("\nFalse\n")


def test_an_empty_value_and_a_value_with_blanks(shop: Path) -> None:
    done = run_shop(shop, ["echo-back", "-p", "", "-p", "a b", "--process=", "-p", "-x y"])
    assert done.stdout == '{"process": ["", "a b", "", "-x y"]}\n'


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        ("", "a command is missing: echo-back, fail", "'shop --help' shows the commands"),
        ("fial", "there is no command 'fial'", "Did you mean 'fail'?"),
        ("zzz --help", "there is no command 'zzz'", "'shop --help' shows the commands"),
        ("--frob", "there is no option --frob", "'shop --help' shows what it understands."),
        ("echo-back --tiemout=3", "there is no option --tiemout", "Did you mean '--timeout'?"),
        ("echo-back --timeout", "--timeout needs a value", "'shop echo-back --help'"),
        ("echo-back -x", "there is no option -x", "'shop echo-back --help'"),
        ("echo-back -bx", "there is no option -x", "'shop echo-back --help'"),
        ("echo-back --revert=1", "--revert takes no value, but got '1'", "'shop echo-back --help'"),
        ("echo-back --color=maybe", "--color takes auto, yes or no, not 'maybe'", "'shop"),
        ("echo-back --re=1", "--re could be --revert or --revert-all", "'shop echo-back --help'"),
        ("echo-back -r 0", "-r: must be a whole number above 0, not '0'", "'shop echo-back --help'"),
        ("echo-back --timeout nan", "--timeout: must be a number of seconds, 0 or more, not 'nan'", "'shop"),
        (
            "echo-back --mode=strickt",
            "--mode takes strict or default, not 'strickt'",
            "Did you mean 'strict'?",
        ),
        ("fail a b", "'b' is one word too many", "'shop fail --help'"),
        ("fail", "how is missing", "'shop fail --help'"),
        ("fail usage", "nothing to do", "'shop fail --help'"),
    ],
)
def test_a_wrong_command_line_ends_in_a_sentence_and_a_hint(
    shop: Path, words: str, sentence: str, hint: str
) -> None:
    done = run_shop(shop, words.split())
    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout, first) == (64, "", f"shop: {sentence}")
    assert second.startswith(f"hint: {hint}")


def test_help_of_a_command(shop: Path) -> None:
    expected = """\
        Usage: shop echo-back [OPTION]... [WORD]...

        Say what was understood.

        A paragraph that is long enough to be wrapped in a terminal of eighty columns,
        because it goes on.

          an example   stays   as it is

        Words:
          WORD                    what to say

        Options:
          -p, --process=X         some
          -r N                    (default: 1)
              --timeout=SECONDS   patience
          -b                      b
          -c                      c
              --revert            take back
              --revert-all=LIBRARY
                                  take all back
              --mode=strict|default
                                  how

        Common options:
          -h, -?, --help          show this help
              --usage             show all options in a few lines
          -V, --version           show the version
              --color=WHEN        colours: auto (on a terminal, unless NO_COLOR is set),
                                  yes, no
              --debug             show a traceback when something goes wrong
    """
    for words in (
        ["echo-back", "--help"],
        ["-h", "echo-back"],
        ["echo-back", "-?", "x"],
        ["help", "echo-back"],
    ):
        done = run_shop(shop, words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == textwrap.dedent(expected)


def test_usage_is_every_option_in_a_few_lines(shop: Path) -> None:
    expected = """\
        Usage: shop echo-back [-h?Vbc] [-p X] [-r N] [--help] [--usage] [--version]
                    [--color=WHEN] [--debug] [--process=X] [--timeout=SECONDS]
                    [--revert] [--revert-all=LIBRARY] [--mode=strict|default] [WORD]...
    """
    for words in (["echo-back", "--usage"], ["--usag", "-b", "echo-back", "x"]):
        done = run_shop(shop, words)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", textwrap.dedent(expected))
    done = run_shop(shop, ["--usage"])
    assert done.stdout == (
        "Usage: shop [-h?V] [--help] [--usage] [--version] [--color=WHEN] [--debug]\n"
        "            COMMAND [WORD]...\n"
    )


def test_help_of_the_program(shop: Path) -> None:
    expected = """\
        Usage: shop COMMAND [OPTION]... [WORD]...

        Sells things.

        Commands:
          echo-back   Say what was understood.
          fail        Go wrong.

        Options:
          -h, -?, --help          show this help
              --usage             show all options in a few lines
          -V, --version           show the version
              --color=WHEN        colours: auto (on a terminal, unless NO_COLOR is set),
                                  yes, no
              --debug             show a traceback when something goes wrong

        'shop COMMAND --help' describes a command.
    """
    for words in (["--help"], ["-?"], ["help"]):
        done = run_shop(shop, words)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", textwrap.dedent(expected))


def test_version_is_the_packages(shop: Path) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    for words in (["--version"], ["-V"], ["fail", "-V"], ["--debug", "--version"]):
        done = run_shop(shop, words)
        assert (done.returncode, done.stdout) == (0, f"shop (zypp-livepatch) {VERSION}\n")


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("error", 65, "shop: the file 'a\\x1b[1mb' is cut short\nhint: install it again\n"),
        ("missing-file", 66, "shop: '/nonexistent/file': No such file or directory\n"),
        (
            "missing-library",
            69,
            "shop: the library solv for Python cannot be loaded: import of solv halted; None in sys.modules\n"
            "hint: 'zypper install python3-solv' installs it where it is missing\n",
        ),
        (
            "defect",
            70,
            "shop: this is a defect: RuntimeError: two\\x0alines\n"
            "hint: Please report it with what the same command says with --debug.\n",
        ),
        ("one", 1, ""),
    ],
)
def test_what_goes_wrong_has_a_status_and_no_traceback(
    shop: Path, how: str, status: int, message: str
) -> None:
    done = run_shop(shop, ["fail", how])
    assert (done.returncode, done.stdout, done.stderr) == (status, "", message)


def test_debug_shows_the_traceback(shop: Path) -> None:
    for how in ("defect", "error"):
        done = run_shop(shop, ["--debug", "fail", how])
        assert "Traceback" in done.stderr and "fail.py" in done.stderr
        assert done.stderr.splitlines()[-2].startswith("shop: ")


def test_the_message_is_colored_on_request_only(shop: Path) -> None:
    assert run_shop(shop, ["fail", "error"]).stderr.startswith("shop: ")
    assert run_shop(shop, ["fail", "error", "--color=yes"]).stderr.startswith("\x1b[31;1mshop:\x1b[0m ")


def test_interrupted_is_130_without_a_traceback(shop: Path) -> None:
    command = [sys.executable, str(shop / "main.py"), "fail", "wait"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(shop)
    ) as process:
        assert process.stdout and process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, b"shop: interrupted\n")


@pytest.mark.parametrize("how", ["much", "little"])
def test_a_reader_that_leaves_is_no_error(shop: Path, how: str) -> None:
    command = [sys.executable, str(shop / "main.py"), "fail", how]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(shop)
    ) as process:
        assert process.stdout
        process.stdout.close()
        errors = process.stderr.read() if process.stderr else b"?"
        process.wait(timeout=10)
    assert (process.returncode, errors) == (141, b"")


@pytest.mark.parametrize("how", ["much", "little"])
def test_a_full_disk_under_the_output_is_not_silent(shop: Path, how: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(shop / "main.py"), "fail", how],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(shop),
            timeout=20,
        )
    assert done.returncode == 73
    assert done.stderr == "shop: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_are_not_reused(shop: Path, closed: str) -> None:
    script = f"exec {sys.executable} {shop}/main.py fail descriptors {closed}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment(shop), timeout=20
    )
    assert done.returncode == 0
    assert "2>" in closed or int(done.stderr) > 2


def test_closed_output_is_said_before_anything_is_done(shop: Path) -> None:
    script = f"{sys.executable} {shop}/main.py fail wait >&-"
    started = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment(shop), timeout=20
    )
    assert (done.returncode, done.stderr) == (
        73,
        "shop: standard output is closed\nhint: Send it to /dev/null to see nothing.\n",
    )
    assert time.monotonic() - started < 10


def test_nobody_can_be_told(shop: Path) -> None:
    script = f"{sys.executable} {shop}/main.py fail error >&- 2>/dev/full"
    assert subprocess.run(["sh", "-c", script], env=environment(shop), timeout=20).returncode == 73


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_any_text_can_be_printed_in_any_locale(shop: Path, locale: str) -> None:
    more = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run_shop(shop, ["fail", "strange"], **more)
    assert (done.returncode, done.stderr) == (0, "")
