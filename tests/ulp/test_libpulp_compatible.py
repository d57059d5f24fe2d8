# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts written for libpulp's ``ulp`` rely on: its options, its lines, its numbers; side by side with it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from host.command_line import load
from tests.support.libpulp import libpulp, needs_libpulp, padded_library, preloaded
from tests.support.livepatches import NEW, NEWER, OLD, ULP, ten_functions, ulp
from tests.support.targets import Target, caller

# What libpulp 0.3.17 understands (its tools/*.c): letter, long name, and = where a value follows.
COMMON = "v verbose, q quiet, ? help, usage, V version"
OPTIONS = {
    "patches": "b buildid, color=, disable-threading, only-livepatched, p process=, u user=",
    "check": "p process=",
    "dump": "b buildid, revert",
    "packer": "l livepatch=, o output=, t target=",
    "trigger": "color=, disable-seccomp, disable-summarization, disable-threading, p process=, recursive, "
    "revert, revert-all=, r retries=, R root=, timeout=, u user=",
    "post": "",
    "messages": "p process=",
    "livepatchable": "",
    "extract": "d with-debuginfo=, o output=",
    "set_patchable": "disable-threading, p process=, r retries=, u user=",
}


class Option(NamedTuple):
    """One option of libpulp's."""

    letter: str
    name: str
    takes_value: bool


def options(command: str) -> list[Option]:
    words = [word.split() for word in f"{OPTIONS[command]}, {COMMON}".split(", ") if word]
    return [
        Option(word[0] if len(word) == 2 else "", word[-1].rstrip("="), word[-1].endswith("="))
        for word in words
    ]


@needs_libpulp
@pytest.mark.parametrize("command", OPTIONS)
def test_the_table_of_options_is_libpulps(command: str) -> None:
    shown = libpulp(command, "--help").stdout
    found = re.findall(r"^ +(?:-(.), )?--([a-z-]+)(=\S+)?", shown, re.MULTILINE)
    assert {Option(letter, name, bool(value)) for letter, name, value in found} == set(options(command))


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_and_abbreviation_means_the_same(command: str) -> None:
    """An abbreviation counts where it is not ambiguous among libpulp's options, as getopt_long(3) has it."""
    parser = load("ulp", "ulp.commands", command)[1]
    known = options(command)
    for option in known:
        expected = f"--{option.name}"
        if option.letter:
            words = [f"-{option.letter}", *(["1"] if option.takes_value else [])]
            assert parser.split(words)[0][0].partition("=")[0] == expected, words
        for length in range(1, len(option.name) + 1):
            prefix = option.name[:length]
            fits = [other for other in known if other.name.startswith(prefix)]
            if len(fits) > 1 and prefix != option.name:
                continue
            words = [f"--{prefix}{'=1' if option.takes_value else ''}"]
            assert parser.split(words)[0][0].partition("=")[0] == expected, words


@pytest.mark.parametrize("command", OPTIONS)
def test_help_version_and_usage_of_each_command(command: str) -> None:
    """Options before and after the command, among words that would be wrong."""
    usage = ulp("--usage", command)
    assert (usage.status, usage.stderr) == (0, "")
    assert usage.stdout.startswith(f"Usage: ulp {command} [-h?V")
    shown = " ".join(usage.stdout.split())
    for option in options(command):
        assert re.search(rf"\[--{option.name}{'=' if option.takes_value else ''}", shown)
    assert ulp("-?", command).stdout.startswith(f"Usage: ulp {command} ")
    assert ulp(command, "-V").stdout == ulp("--version").stdout


@functools.cache
def library() -> Path:
    return padded_library(name=f"libcompat{os.getpid()}.so.0")


@functools.cache
def other_build() -> Path:
    return padded_library("-DOTHER=1", name=library().name)


class Pair(NamedTuple):
    """Two processes of one program that preload libpulp: for our tool and for libpulp's."""

    ours: Target
    theirs: Target

    def say(self, *words: str) -> tuple[int, str]:
        """Run both tools; returns exit status and output of both, which must be the same."""
        common = ["-r", "1000", *words]
        our = ulp("trigger", *common, "--libpulp-exit-status", "-p", str(self.ours.pid))
        their = libpulp("trigger", *common, "-p", str(self.theirs.pid))
        ours = our.status, our.stdout.replace(f"(pid: {self.ours.pid})", "(pid: N)")
        assert ours == (
            their.returncode,
            their.stdout.replace(f"(pid: {self.theirs.pid})", "(pid: N)"),
        ), our.stderr + their.stderr
        return ours

    def answers(self) -> tuple[int, ...]:
        """What the functions of both give, which must be the same."""
        ours = self.ours.answers(10)
        assert ours == self.theirs.answers(10)
        return ours


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    program = caller(library())
    with preloaded(program) as ours, preloaded(program) as theirs:
        yield Pair(ours, theirs)


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with live patches 1 and 2, one for another build, and the first of them below."""
    tmp_path.chmod(0o755)
    for name, first in (("lp1.so", 200), ("lp2.so", 300)):
        shutil.copy(ten_functions(first, library=library()), tmp_path / name)
    (tmp_path / "sub/deep").mkdir(parents=True)
    shutil.copy(tmp_path / "lp1.so", tmp_path / "sub/deep/one_livepatch.so")
    shutil.copy(tmp_path / "lp1.so", tmp_path / "sub/one.so.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TOTAL = "ulp: Processes patched: {}, Skipped: {}, Failed: {}.\n"
ONE = TOTAL.format(1, 0, 0)
SKIPPED = TOTAL.format(0, 1, 0)


@needs_libpulp
def test_lines_and_numbers_of_one_process(pair: Pair, folder: Path) -> None:
    def line(text: str, total: str) -> tuple[int, str]:
        return 0, f"  caller (pid: N): {text}\n{total}"

    assert pair.say("lp1.so") == line("SUCCESS lp1.so", ONE)
    assert pair.say("./lp1.so") == line("SKIPPED Patch already applied", SKIPPED)
    assert pair.say("-q", f"{folder}/lp2.so") == (0, ONE)
    assert pair.answers() == NEWER
    assert pair.say("--revert", f"{folder}/lp2.so") == line(f"SUCCESS {folder}/lp2.so", ONE)
    assert pair.answers() == NEW
    target = library().name
    assert pair.say("--revert-all", target) == line(f"SUCCESS reverted all patches from '{target}'", ONE)
    assert pair.say(f"--revert-all=/lib/{target}") == line("SKIPPED No patches installed", SKIPPED)
    assert pair.say("--revert-all=target", "lp1.so") == line("SUCCESS lp1.so", ONE)
    assert pair.say("lp2.so", f"--revert-all={target}") == line("SUCCESS lp2.so", ONE)
    assert pair.answers() == NEWER
    assert pair.say("--revert", "lp2.so", "--disable-sum") == (
        0,
        f"  caller (pid: N):\n    SUCCESS lp2.so\n{ONE}",
    )
    assert pair.answers() == OLD


@needs_libpulp
def test_wildcards(pair: Pair) -> None:
    assert pair.say("*1.so") == (0, f"  caller (pid: N): SUCCESS ./lp1.so\n{ONE}")
    words = ["trigger", "--revert", "--recursive", "*one*", "-r", "1000", "-p"]
    our, their = ulp(*words, str(pair.ours.pid)), libpulp(*words, str(pair.theirs.pid))
    line = f"  caller (pid: {pair.ours.pid}): SUCCESS ./sub/deep/one_livepatch.so\n"
    assert our.stdout == line + ONE  # libpulp's counts do not know what is below the directory
    assert their.stdout == line.replace(str(pair.ours.pid), str(pair.theirs.pid))
    assert pair.answers() == OLD
    assert pair.say("lp[^1]*.so") == (0, f"  caller (pid: N): SUCCESS ./lp2.so\n{ONE}")
    assert pair.answers() == NEWER


@needs_libpulp
def test_containers_for_several_builds(pair: Pair, folder: Path) -> None:
    """As a package has them: what is for another build is not told where one for the own build is there."""
    shutil.copy(ten_functions(200, library=other_build()), folder / "lp2.so")
    for words in ([], ["--revert"], ["--revert-all=target"]):
        assert pair.say(*words, "*.so") == (0, f"  caller (pid: N): SUCCESS ./lp1.so\n{ONE}")


@needs_libpulp
@pytest.mark.parametrize("word", ["yes", "no", "n", "auto", "always"])
def test_colors(pair: Pair, word: str) -> None:
    status, said = pair.say(f"--color={word}", "lp1.so")
    assert status == 0 and ("\x1b[32;1m SUCCESS\x1b[0m lp1.so\n" in said) == (word in {"yes", "always"})
    status, said = pair.say("lp1.so", "--col", word)
    assert status == 0 and ("\x1b[33;1m SKIPPED\x1b[0m Patch" in said) == (word in {"yes", "always"})


@needs_libpulp
def test_a_process_whose_user_has_disabled_it(pair: Pair) -> None:
    for target in pair:
        assert ulp("set_patchable", "-p", str(target.pid), "disable").status == 0
    for words in (["lp1.so"], ["--revert", "lp1.so"], [f"--revert-all={library().name}"]):
        assert pair.say(*words) == (
            0,
            f"  caller (pid: N): SKIPPED Livepatching blocked by user request\n{SKIPPED}",
        )
    assert pair.answers() == OLD


@needs_libpulp
def test_what_is_not_there_ends_with_the_same_number(pair: Pair, folder: Path) -> None:
    """Ours says why on standard error and does nothing, whichever process it is."""
    (folder / "text.so").write_text("no live patch")
    shutil.copy(ten_functions(200, library=other_build()), folder / "other.so")
    for words in (["text.so"], ["absent.so"], ["absent/*.so"], ["a*.so"], ["other.so"], []):
        our = ulp("trigger", *words, "--libpulp-exit-status", "-p", str(pair.ours.pid))
        their = libpulp("trigger", *words, "-p", str(pair.theirs.pid))
        assert our.status == their.returncode, words
    our = ulp("trigger", "other.so", "-v", "-p", str(pair.ours.pid))
    assert our.status == 2 and "livepatch buildid mismatch" in our.stdout
    for process in ("99999999", "no such process"):
        words = ["trigger", "lp1.so", "-p", process]
        assert ulp(*words, "--libpulp-exit-status").status == libpulp(*words).returncode == 0


@needs_libpulp
def test_check_answers_the_other_way_round_on_request(pair: Pair) -> None:
    def numbers() -> tuple[int, int, int]:
        words = ["check", "lp1.so", "-p", str(pair.theirs.pid)]
        return ulp(*words).status, ulp(*words, "--libpulp-exit-status").status, libpulp(*words).returncode

    assert numbers() == (1, 0, 0)
    assert libpulp("trigger", "-r", "1000", "-p", str(pair.theirs.pid), "lp1.so").returncode == 0
    assert numbers() == (0, 1, 1)


def installed(folder: Path) -> subprocess.CompletedProcess[str]:
    """What SUSE's rpm helper runs at the end of an installation."""
    command = (
        f'"$ULP" trigger -R "$ROOT" --recursive -r 100 --timeout 200 --revert-all=target "{folder}/*.so"'
    )
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "ULP": str(ULP), "ROOT": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_call_of_suses_packages_where_nobody_uses_the_library(folder: Path) -> None:
    done = installed(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(TOTAL.format(0, 0, 0))


@needs_libpulp
def test_the_call_of_suses_packages_replaces_what_libpulp_applied(pair: Pair, folder: Path) -> None:
    applied = libpulp("trigger", "-r", "1000", "-p", str(pair.ours.pid), "lp1.so")
    assert applied.returncode == 0, applied
    (folder / "sub/deep/one_livepatch.so").unlink()  # a copy that sorts after its successor
    done = installed(folder)
    assert done.returncode == 0, done
    lines = [f"  caller (pid: {pid}): SUCCESS {folder}/lp2.so" for pid in sorted(t.pid for t in pair)]
    assert done.stdout.splitlines()[:2] == lines
    assert done.stdout.endswith(TOTAL.format(2, 0, 0))
    assert pair.answers() == NEWER
    for target in pair:
        held = libpulp("patches", "-p", str(target.pid)).stdout
        assert "livepatch: lp2.so" in held and "lp1.so" not in held
