# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp patches``: libpulp's form to the byte, real processes, hostile records."""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path

import pytest

from host.terminal import Paint
from tests.support.containers import build_container
from tests.support.documentation import contradictions
from tests.support.livepatches import build_id, ten_functions, trigger, ulp
from tests.support.targets import answers_library, caller, running
from tests.support.users import NOBODY, ordinary_user
from ulp.commands.patches import lines, patch_row, when
from ulp.engines import Applied
from ulp.holdings import Holding

NAME = f"libpatches{os.getpid()}.so.0"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user")
PLAIN = Paint(on=False)


def patch(number: int = 1, **fields: object) -> Applied:
    known: dict[str, object] = {
        "patch_id": bytes([number]) * 32,
        "container": f"/usr/lib64/lp/libcomments_livepatch{number}.so.0.0.0",
        "library": "/usr/lib64/libcomments.so.0",
        "build_id": b"\xab" * 20,
        "functions": ("f", "g"),
        "labels": ("bsc#1200316", "jsc#SLE-20049", "CVE-2021-3449"),
        "time": 1795222864.0,
        "engine": "direct",
    }
    return Applied(**{**known, **fields})  # type: ignore[arg-type]


def holding(
    *patches: Applied, libraries: tuple[tuple[str, str], ...] = (), name: str = "comments"
) -> Holding:
    return Holding(pid=4294, name=name, patches=patches, has_libpulp=False, libraries=libraries)


def shown(one: Holding, *, build_ids: bool = False, verbose: bool = False, ink: Paint = PLAIN) -> str:
    return "".join(f"{line}\n" for line in lines(one, build_ids=build_ids, verbose=verbose, ink=ink))


def test_the_form_is_the_one_that_scripts_know() -> None:
    loaded = time.asctime(time.localtime(1795222864))
    assert shown(holding(patch(), libraries=(("/usr/lib64/libc.so.6", "cd" * 20),))) == (
        "PID: 4294, name: comments\n"
        "  Livepatching status: enabled\n"
        "  Livepatchable libraries:\n"
        "    in /usr/lib64/libc.so.6:\n"
        "    in /usr/lib64/libcomments.so.0:\n"
        f"      livepatch: libcomments_livepatch1.so.0.0.0 loaded on {loaded}\n"
        "        bug labels: bsc#1200316 jsc#SLE-20049 CVE-2021-3449 \n"
        "\n"
    )


def test_several_patches_of_a_library_stand_together_oldest_first() -> None:
    other = patch(3, library="/usr/lib64/libother.so.1", labels=())
    text = shown(holding(patch(1), other, patch(2)))
    assert re.findall(r"in (\S+):|livepatch: \S+_livepatch(\d)", text) == [
        ("/usr/lib64/libcomments.so.0", ""),
        ("", "1"),
        ("", "2"),
        ("/usr/lib64/libother.so.1", ""),
        ("", "3"),
    ]
    assert text.count("bug labels") == 2


def test_build_ids_patch_ids_functions_and_color_on_request() -> None:
    assert f"    in /usr/lib64/libcomments.so.0 ({'ab' * 20}):\n" in shown(holding(patch()), build_ids=True)
    verbose = shown(holding(patch()), verbose=True)
    assert f"        patch id: {'01' * 32}\n        functions: f, g\n" in verbose
    assert "status: \x1b[32;1menabled\x1b[0m\n" in shown(holding(patch()), ink=Paint(on=True))


def test_a_record_in_a_hostile_process_harms_nobody() -> None:
    evil = "\x1b]0;x\x07\nPID: 1, name: init"
    one = holding(
        patch(container=f"/x/{evil}", library=evil, functions=(evil,), labels=(evil,), time=math.inf),
        name=evil,
    )
    text = shown(one, build_ids=True, verbose=True)
    assert len(text.splitlines()) == 9
    assert all(line.isprintable() for line in text.splitlines())
    assert "loaded on an unknown date" in text
    assert when(-1e300) == when(math.nan) == "an unknown date"
    assert patch_row(patch(time=math.nan))["time"] is None


def test_what_a_process_holds() -> None:
    library = answers_library(name=NAME)
    first, second = ten_functions(200, library=library), ten_functions(300, library=library)
    with running(caller(library)) as target, running(caller(library)) as other:
        for container in (first, second):
            assert trigger(target, container).status == 0
        said = ulp("patches")
        assert said.status == 0
        assert (
            f"PID: {target.pid}, name: caller\n" in said.stdout and f"PID: {other.pid}," not in said.stdout
        )
        said = ulp("patches", "-p", str(target.pid), "--only-livepatched", "-b")
        assert said.stderr == ""
        found = re.sub(
            r"loaded on \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n", "loaded on DATE\n", said.stdout
        )
        assert found == (
            f"PID: {target.pid}, name: caller\n"
            "  Livepatching status: enabled\n"
            "  Livepatchable libraries:\n"
            f"    in {library} ({build_id(library)}):\n"
            f"      livepatch: {first.name} loaded on DATE\n"
            f"      livepatch: {second.name} loaded on DATE\n"
            "\n"
        )
        said = ulp("patches", "-p", str(other.pid))
        assert said.stdout.startswith(f"PID: {other.pid}, name: caller\n  Livepatching status: enabled\n")
        assert f"    in {library}:\n" in said.stdout and "livepatch: " not in said.stdout
        assert re.search(r"    in \S*/libc\.so\.6:\n", said.stdout)
        assert ulp("patches", "-p", str(other.pid), "--only-livepatched").stdout == ""


def test_labels_come_from_the_containers_comments(tmp_path: Path) -> None:
    library = answers_library(name=NAME)
    source = "long labelled(void) { return 5; }\n"
    container = build_container(
        tmp_path,
        source,
        target=library,
        functions={"answer_0": "labelled"},
        comments="Fixes bsc#77 and CVE-2024-1.",
    )
    with running(caller(library)) as target:
        assert trigger(target, container).status == 0
        assert "        bug labels: bsc#77 CVE-2024-1 \n" in ulp("patches", "-p", str(target.pid)).stdout


def test_json() -> None:
    library = answers_library(name=NAME)
    container = ten_functions(200, library=library)
    with running(caller(library)) as target:
        before = time.time()
        assert trigger(target, container).status == 0
        document = json.loads(ulp("patches", "--json", "-p", str(target.pid)).stdout)
    assert (document["schema"], document["version"], document["unseen"]) == (
        "zypp-livepatch/ulp-patches",
        1,
        0,
    )
    assert contradictions(document) == []
    (process,) = document["processes"]
    assert (process["pid"], process["name"], process["has_libpulp"]) == (target.pid, "caller", False)
    (applied,) = process["patches"]
    assert applied["container"] == str(container) and applied["library"] == str(library)
    assert applied["build_id"] == build_id(library) and len(applied["functions"]) == 10
    assert before - 2 <= applied["time"] <= time.time() + 2
    assert {"path": str(library), "build_id": build_id(library)} in process["libraries"]


@needs_root
def test_users() -> None:
    library = answers_library(name=NAME)
    with running(caller(library), wrapper=NOBODY) as theirs, running(caller(library)) as ours:
        for target in (theirs, ours):
            assert trigger(target, ten_functions(200, library=library)).status == 0
        listed = ulp("patches", "-u", "nobody").stdout
        assert f"PID: {theirs.pid}," in listed and f"PID: {ours.pid}," not in listed
        said = ulp("patches", prefix=ordinary_user())
        assert f"PID: {theirs.pid}," in said.stdout and f"PID: {ours.pid}," not in said.stdout
        assert re.fullmatch(
            r"ulp: \d+ processes of other users could not be looked at; root can\.\n", said.stderr
        )
        assert ulp("patches", "-q", prefix=ordinary_user()).stderr == ""
        said = ulp("patches", "-p", str(ours.pid), prefix=ordinary_user())
        assert (said.status, said.stdout) == (77, "")
        assert said.stderr.startswith(f"ulp: process {ours.pid} may not be looked at by this user\n")
    assert ulp("patches", "-u", "no-such-user").status == 66


def test_words_it_does_not_know() -> None:
    assert ulp("patches", "something").stderr.startswith("ulp: 'something' is one word too many\n")
    assert ulp("patches", "-p", "no-such-process-name").status == 2
