# SPDX-License-Identifier: GPL-2.0-or-later
"""Man pages as mandoc and man show them, compared with what the commands say of themselves."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.arguments import Parser, explanation, invocation
from host.errors import ExitStatus
from host.terminal import Paint
from spec import roff
from spec.documents import Block, blocks, exit_statuses
from spec.programs import PROGRAMS, Program

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EVERY = [(program, parser) for program in PROGRAMS for parser in program.parsers()]
OF_EVERY = pytest.mark.parametrize(("program", "parser"), EVERY, ids=[parser.prog for _, parser in EVERY])
OF_PROGRAMS = pytest.mark.parametrize("program", PROGRAMS, ids=[program.name for program in PROGRAMS])


def file(generated: Path, program: Program) -> Path:
    return generated / f"man/man{program.section}/{program.name}.{program.section}"


def run(*command: str | Path, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@cache
def shown(path: Path) -> str:
    """Return the page as man shows it on very wide paper, where no line is broken."""
    status, text, errors = run("man", "--warnings=w", "-l", path, MANWIDTH="2000", MAN_KEEP_FORMATTING="")
    assert (status, errors) == (0, "")
    return text


def section(text: str, title: str) -> str:
    """Return what stands below a heading, until the next one that is indented as little."""
    indent = re.escape(title[: len(title) - len(title.lstrip())])
    found = re.search(rf"^{re.escape(title)}$\n(.*?)(?=^{indent}\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{title!r} is missing"
    return found[1]


def squeezed(text: str) -> str:
    """Return the text with blanks that are one each, and hyphens as they are typed."""
    return " ".join(text.replace("\N{HYPHEN}", "-").split())


@OF_PROGRAMS
def test_no_warning(generated: Path, program: Program) -> None:
    assert run("mandoc", "-Tlint", "-Wwarning", file(generated, program)) == (0, "", "")


@OF_PROGRAMS
def test_sections(generated: Path, program: Program) -> None:
    headings = [
        line for line in shown(file(generated, program)).splitlines()[1:-1] if re.match("[A-Z]", line)
    ]
    middle = (
        ["OPTIONS", "EXIT STATUS", "EXAMPLES"]
        if program.single
        else ["COMMANDS", "COMMON OPTIONS", "EXIT STATUS"]
    )
    assert headings == ["NAME", "SYNOPSIS", "DESCRIPTION", *middle, "ENVIRONMENT", "FILES", "SEE ALSO"]


@OF_PROGRAMS
def test_frame(generated: Path, program: Program) -> None:
    lines = shown(file(generated, program)).splitlines()
    assert lines[0].startswith(f"{program.name.upper()}({program.section})")
    assert (
        squeezed(lines[-1]) == f"zypp-livepatch 0.1.0 2026-01-01 {program.name.upper()}({program.section})"
    )
    name = squeezed(section("\n".join(lines), "NAME"))
    assert name.startswith(f"{program.name} - ") and name.lower().endswith(
        program.summary().lower().rstrip(".")
    )


@OF_EVERY
def test_a_command_is_described_as_in_its_help(generated: Path, program: Program, parser: Parser) -> None:
    page = shown(file(generated, program))
    text = section(page, "OPTIONS") if program.single else section(page, f"   {parser.prog}")
    for title, actions in parser.groups():
        if title == "Common options" and not program.single:
            text = section(page, "COMMON OPTIONS")
        for action in actions:
            assert f"{invocation(action).strip()} {explanation(action)}" in squeezed(text)
    assert squeezed(parser.synopsis) in squeezed(section(page, "SYNOPSIS"))
    everything = squeezed(page)
    assert parser.summary in everything
    for block in parser.description_blocks:
        words = squeezed(block)
        heading = re.match(r"(Exit status|Examples): ", words)
        assert words[heading.end() if heading and program.single else 0 :] in everything


@OF_EVERY
def test_what_is_typed_stays_as_it_is(generated: Path, program: Program, parser: Parser) -> None:
    page = shown(file(generated, program))
    for _, actions in parser.groups():
        for action in actions:
            assert f"\n       {invocation(action).strip()}" in page
    for block in blocks(parser.description_blocks):
        for line in block.lines:
            assert f"           {line}\n" in page


@OF_PROGRAMS
def test_options_can_be_copied(generated: Path, program: Program) -> None:
    """Elsewhere than on Debian a mere "-" of roff is shown as a hyphen, which no shell understands."""
    lines = file(generated, program).read_text().splitlines()
    words = [word for line in lines if not line.startswith('.\\"') for word in line.split()]
    assert [word for word in words if re.match(r"(\\f.|\\%|\\&|[^\w\\-])*-", word)] == []
    assert "\\-\\-color" in "".join(lines)


@OF_EVERY
def test_every_option_has_a_help(program: Program, parser: Parser) -> None:
    assert [action.dest for action in parser._actions if not action.help] == []


@OF_EVERY
def test_help_fits_a_terminal(program: Program, parser: Parser) -> None:
    lines = parser.help(paint=Paint(on=False), width=80).splitlines()
    assert [line for line in lines if len(line) > 80] == []


@OF_EVERY
def test_examples_are_understood(program: Program, parser: Parser) -> None:
    examples = [line for block in blocks(parser.description_blocks) for line in block.lines]
    own = [line for line in examples if line.startswith(parser.prog)]
    assert len(own) >= len(examples) - 1  # one may be a loop
    for line in own:
        words = shlex.split(line.removeprefix(parser.prog).partition(" | ")[0])
        parser.convert(*parser.split(words))


def test_every_program_has_a_page() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    plugins = {"zypp-livepatch-commit", "zypp-livepatch-tukit"}  # for libzypp and tukit to run
    assert {program.name for program in PROGRAMS} == set(scripts) - plugins


def test_every_exit_status_is_on_the_page(generated: Path) -> None:
    text = " " + squeezed(section(shown(file(generated, PROGRAMS[0])), "EXIT STATUS"))
    assert {int(status) for status, _ in exit_statuses()} == {*ExitStatus, 141}
    for status, meaning in exit_statuses():
        assert f" {status} {meaning}" in text


def test_every_variable_that_is_read_is_on_a_page() -> None:
    read = set()
    for path in [
        path
        for room in ("host", "klp", "lifecycle", "ulp", "zypp_plugin")
        for path in (ROOT / room).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
                read.add(ast.literal_eval(node.args[0]))
    documented = {name for program in PROGRAMS for name, _ in program.environment}
    told_by_zypper = {"TRANSACTIONAL_UPDATE", "TRANSACTIONAL_UPDATE_ROOT", "ZYPP_IS_RUNNING"}
    assert "NO_COLOR" in read
    assert read - told_by_zypper == documented


def test_zypper_shows_the_page(generated: Path) -> None:
    path = f"{BIN}:{os.environ['PATH']}"
    status, text, _ = run(
        "zypper", "help", "lifecycle", PATH=path, MANPATH=str(generated / "man"), MANWIDTH="80"
    )
    assert status == 0
    assert text.startswith("ZYPPER-LIFECYCLE(8)")


def test_it_is_made_the_same_each_time(generated: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "spec.generate", tmp_path],
        cwd=ROOT,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1767225600", "PYTHONHASHSEED": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    files = [path.relative_to(generated) for path in generated.rglob("*") if path.is_file()]
    assert len(files) == 4 * len(PROGRAMS)
    for path in files:
        assert (tmp_path / path).read_bytes() == (generated / path).read_bytes()
        assert str(ROOT) not in (generated / path).read_text()


@settings(max_examples=60)
@given(
    st.lists(
        st.text(
            st.sampled_from(".'\"\\-`^~&%$*|[]()#@+ .'-aZ09_/=,:;?!<>{}µéß…„“→\N{EM DASH}"),
            min_size=1,
            max_size=40,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_text_stays_what_it_is(texts: list[str]) -> None:
    """Lines that are copied keep each character; in paragraphs only blanks may change."""
    lines = [f"<{text}>" for text in texts] + [f"{text}>" for text in texts if text.strip() == text]
    page = ".TH A 1 2026-01-01\n.SH B\n" + "\n".join(roff.example(lines)) + "\n"
    page += "".join(f".SH C{number}\n{roff.prose(line)}\n" for number, line in enumerate(lines))
    done = subprocess.run(
        ["mandoc", "-Kutf-8", "-Tutf8", "-Owidth=500,indent=0"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    written = re.sub(".\b", "", done.stdout)
    below, *paragraphs = re.split(r"^C\d+$", written.partition("\nB\n")[2], flags=re.MULTILINE)
    assert [line.strip() for line in below.splitlines() if line.strip()] == [line.strip() for line in lines]
    paragraphs[-1] = paragraphs[-1].rstrip("\n").rpartition("\n")[0]
    assert [squeezed(text) for text in paragraphs] == [squeezed(line) for line in lines]


def test_blocks_of_a_docstring() -> None:
    written = [
        "A paragraph: of two\nlines.",
        "Exit status: 0 when all is well.",
        "Exit status:\n  0   all is well,\n      as it goes on\n  77  not allowed",
        "Examples:\n  ulp dump  x.so\n  ulp check x.so",
        "* a point\n* another",
    ]
    assert blocks(written) == [
        Block("", text="A paragraph: of two lines."),
        Block("Exit status", text="0 when all is well."),
        Block("Exit status", rows=(("0", "all is well, as it goes on"), ("77", "not allowed"))),
        Block("Examples", lines=("ulp dump  x.so", "ulp check x.so")),
        Block("", lines=("* a point", "* another")),
    ]
