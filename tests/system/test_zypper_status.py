# SPDX-License-Identifier: GPL-2.0-or-later
"""``zypper livepatch``: one answer about packages that real zypper installed and processes that run."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support import rpms
from tests.support.commits import FIRST, LIBRARY, PACKAGE, SECOND
from tests.support.containers import build_container
from tests.support.documentation import contradictions
from tests.support.sandbox import Finished, Sandbox, sandbox
from tests.support.targets import Target, answers_library, caller, running

CVE = f"CVE-2025-{os.getpid():06}"
EXEMPTIONS = "etc/zypp-livepatch/exclude.d/a.conf"
OTHER = "CVE-1999-99999"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A process namespace of its own, in which nobody else can be seen, with a live patch in the repository."""
    with sandbox(private=True) as made:
        containers = [
            build_container(
                tmp_path_factory.mktemp("container"),
                f"long new_answer(void) {{ return {answer}; }}\n",
                target=answers_library(name=LIBRARY),
                functions={"answer_0": "new_answer"},
                comments=f"{CVE}\n",
                name=f"fix_livepatch{n}.so",
            )
            for n, answer in enumerate((FIRST, SECOND), start=1)
        ]
        made.add_packages(
            rpms.livepatch_spec(PACKAGE, containers[:1], version="1"),
            rpms.livepatch_spec(PACKAGE, containers, version="2"),
        )
        yield made


def process_of(machine: Sandbox) -> AbstractContextManager[Target]:
    """A process in the machine's own process namespace."""
    return running(caller(answers_library(name=LIBRARY)), wrapper=tuple(machine.argv([])), inner=True)


def ask(machine: Sandbox, *words: str) -> Finished:
    return machine.run("/usr/bin/zypper-livepatch", *words, check=False)


def parts(machine: Sandbox, *words: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    done = ask(machine, "--json", *words)
    document = json.loads(done.output)
    assert contradictions(document) == []
    return done.status, {each["part"]: each["standing"] for each in document["findings"]}, document


def test_before_anything_is_installed(machine: Sandbox) -> None:
    status, found, document = parts(machine)
    assert (status, found) == (3, {"processes": "unknown"})
    assert document["summary"] == "not known whether covered: no live patch is installed or applied"
    assert machine.run("zypper", "livepatch", "--version").status == 0


def test_one_answer_for_each_stage(machine: Sandbox) -> None:
    with process_of(machine):
        machine.zypper("install", f"{PACKAGE}=1")
        status, found, document = parts(machine)
        assert (status, found["processes"], found["updates"]) == (1, "covered", "something-to-do")
        assert document["packages"] == [{"name": PACKAGE, "evr": "1-1", "until": None, "update": "2-1"}]

        status, found, document = parts(machine, "--cve", CVE)  # of both versions: this one is in use
        assert (status, found) == (0, {"processes": "covered", "later": "covered"})

        machine.zypper("install", f"{PACKAGE}=2")
        assert parts(machine)[0] == 0
        shown = ask(machine, "--color=no")
        assert (shown.status, shown.errors) == (0, "")
        assert "\nCovered.\n" in shown.output and "Later processes  off " in shown.output
        assert max(map(len, shown.output.splitlines())) < 200

        status, found, document = parts(machine, "--cve", CVE)
        assert (status, document["summary"]) == (0, f"covered against {CVE}")
        status, found, document = parts(machine, "--cve", OTHER)
        assert status == 3 and f"no live patch names {OTHER}" in document["summary"]

        with process_of(machine):
            status, found, document = parts(machine)
            assert (status, found["processes"], document["restarts"]) == (1, "something-to-do", [])
            assert "ulp trigger" in document["findings"][0]["action"]
            machine.write(EXEMPTIONS, "path = */caller\n")
            status, found, document = parts(machine)
            assert (status, found["processes"]) == (2, "not-covered")
            assert document["processes"]["stuck"] == 1
            assert document["restarts"] == []  # a restart would not help
            lines = ask(machine, "status").output.splitlines()
            assert any(line.startswith("Not covered: 1 of 2 processes") for line in lines)
            (machine.root / EXEMPTIONS).unlink()

        deleted = answers_library("-DOTHER=7", name=LIBRARY)
        with running(caller(deleted), wrapper=tuple(machine.argv([])), inner=True):
            machine.run("rm", deleted)
            status, found, document = parts(machine)
            assert (status, found["processes"]) == (2, "not-covered")
            assert document["restarts"][0].startswith("caller (")

        machine.write("run/reboot-needed", "")
        status, found, document = parts(machine)
        assert (status, found["reboot"], document["reboot"]) == (1, "something-to-do", True)
        (machine.root / "run/reboot-needed").unlink()

        exemptions = machine.write(EXEMPTIONS, "nonsense\n")
        status, found, document = parts(machine)
        assert (status, found["exemptions"]) == (1, "something-to-do")
        exemptions.unlink()

        product = '<product schemeversion="0"><vendor>SUSE</vendor><name>SLES</name><version>15.6</version></product>'
        machine.write("etc/products.d/SLES.prod", product)
        for days, standing in ((-1, 1), (10, 1), (400, 0)):
            day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
            machine.write("usr/share/lifecycle/data/SLES.lifecycle", f"{PACKAGE},*,{day}\n")
            status, found, document = parts(machine)
            assert status == standing, document
            assert ("support" in found) == bool(standing)
            if days > 0:
                assert document["until"] == day.isoformat()
        assert document["summary"] == f"covered, by live patches that are maintained until {day}"

        done = ask(machine, "--metrics", "--output", "/tmp/livepatch.prom")
        assert (done.status, done.output) == (0, "")
        metrics = (machine.root / "tmp/livepatch.prom").read_text()
        assert 'zypp_livepatch_status{status="covered"} 1\n' in metrics
        assert 'zypp_livepatch_processes{state="covered"} 1\n' in metrics


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--cve", "nonsense"], 64),
        (["--json", "--metrics"], 64),
        (["--output", "/tmp/x"], 64),
        (["--metrics", "--output", "/no/such/directory/x"], 66),
        (["stat"], 64),
    ],
)
def test_bad_input(machine: Sandbox, words: list[str], status: int) -> None:
    done = ask(machine, *words)
    assert (done.status, done.output) == (status, "")
    assert "Traceback" not in done.errors and done.errors.startswith("zypper livepatch: ")
