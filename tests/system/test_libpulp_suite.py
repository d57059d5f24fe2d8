# SPDX-License-Identifier: GPL-2.0-or-later
"""libpulp's own test suite with our ``ulp`` in the place of its tool: what passes with its tool passes with ours.

ZLP_LIBPULP_SUITE names a directory where libpulp 0.3.17 was configured and built, outside of its sources. It is built
anew in a temporary directory, so that nothing is left there; the suite's containers and libraries are then made by our
``packer``, ``post`` and ``extract``, too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.libpulp import SUITE, VERSION, needs_libpulp_suite
from tests.support.livepatches import ULP

PATIENCE = 1800.0  # seconds for all of it, which takes two minutes on a quiet machine
GOOD = frozenset({"PASS", "XFAIL", "XPASS"})
FEWEST = 50  # tests that work wherever the suite works at all
TOOL = """#!/bin/sh
case " $* " in
*" trigger "*) set -- "$@" --libpulp-exit-status --engine={engine} ;;
*" check "*) set -- "$@" --libpulp-exit-status ;;
esac
exec {ulp} "$@"
"""


class Suite:
    """A build of libpulp of our own."""

    def __init__(self, built: Path, place: Path) -> None:
        """Configure and build as ``built`` was; raises CalledProcessError and AssertionError."""
        makefile = (built / "Makefile").read_text()
        (source,) = re.findall(r"^abs_top_srcdir = (.*)$", makefile, re.MULTILINE)
        sources = place / "source"
        shutil.copytree(source, sources, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        _give_tests_a_shell_that_becomes_its_command(sources / "tests" / "testsuite.py")
        self.place = place / "build"
        self.place.mkdir()
        said = subprocess.run(
            [built / "config.status", "--config"], capture_output=True, text=True, check=True
        )
        self._run(str(sources / "configure"), *shlex.split(said.stdout))
        self._run("make")
        self.tool = self.place / "tools" / "ulp"
        version = subprocess.run([self.tool, "--version"], capture_output=True, text=True, check=True).stdout
        assert version == f"libpulp {VERSION}\n"

    def use_our_tool(self, engine: str) -> None:
        """Put ours where the suite finds its tool, which is gone then."""
        self.tool.unlink()
        self.tool.write_text(TOOL.format(ulp=shlex.quote(str(ULP)), engine=engine))
        self.tool.chmod(0o755)

    def check(self, *tests: str) -> dict[str, str]:
        """Run some tests, all by default, and return their results by name: PASS, FAIL, XFAIL, ..."""
        named = [f"TESTS={' '.join(f'{name}.py' for name in tests)}"] if tests else []
        said = self._run("make", "check", *named, may_fail=True)
        assert "\n# TOTAL:" in said, f"the suite did not get as far as its tests:\n{said[-3000:]}"
        results = {}
        for file in (self.place / "tests").glob("*.trs"):
            (results[file.stem],) = re.findall(r"^:test-result: (\w+)", file.read_text(), re.MULTILINE)
        return {name: result for name, result in results.items() if not tests or name in tests}

    def log(self, name: str) -> str:
        """Return the end of what a test said."""
        return f"--- {name}\n" + (self.place / "tests" / f"{name}.log").read_text(errors="replace")[-2000:]

    def clean_up(self) -> None:
        """End what tests that broke off have left running."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    program = os.readlink(entry / "exe")
                except OSError:
                    continue
                if program.startswith(f"{self.place}/"):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _run(self, *command: str, may_fail: bool = False) -> str:
        with subprocess.Popen(
            command,
            cwd=self.place,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=PATIENCE)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert may_fail or process.returncode == 0, said[-3000:]
        return said


def _give_tests_a_shell_that_becomes_its_command(testsuite: Path) -> None:
    """Let targets have the pid that the tests know: dash forks for ``sh -c``, bash, which SUSE has as sh, does not."""
    text = testsuite.read_text()
    assert "/usr/bin/sh -c" in text
    testsuite.write_text(text.replace("/usr/bin/sh -c", "/usr/bin/bash -c"))


@pytest.fixture
def built() -> Path:
    assert SUITE is not None
    return SUITE


@pytest.fixture
def suites() -> Iterator[list[Suite]]:
    made: list[Suite] = []
    yield made
    for suite in made:
        suite.clean_up()


@needs_libpulp_suite
@pytest.mark.parametrize(
    ("engine", "different"),
    [
        ("pulp", frozenset()),
        # What libpulp cannot reach, a process without it and a container that the process does not see, is patched.
        ("auto", frozenset({"nolibpulp", "prefix"})),
    ],
)
def test_what_passes_with_libpulps_tool_passes_with_ours(
    built: Path, suites: list[Suite], tmp_path: Path, engine: str, different: frozenset[str]
) -> None:
    (tmp_path / "ours").mkdir()
    suite = Suite(built, tmp_path / "ours")
    suites.append(suite)
    suite.use_our_tool(engine)
    results = suite.check()
    failed = sorted(name for name, result in results.items() if result not in GOOD)
    logs = "\n".join(map(suite.log, failed))
    assert len(results) - len(failed) >= FEWEST, f"{failed}\n{logs}"
    assert different <= set(failed), f"{sorted(different)} should have been patched from outside"
    if doubtful := sorted(set(failed) - different):
        (tmp_path / "theirs").mkdir()
        other = Suite(built, tmp_path / "theirs")
        suites.append(other)
        theirs = other.check(*doubtful)
        better = [name for name in doubtful if theirs[name] in GOOD]
        assert not better, f"{better} pass with libpulp's tool\n{logs}"
