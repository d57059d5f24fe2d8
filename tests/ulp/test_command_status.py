# SPDX-License-Identifier: GPL-2.0-or-later
"""``ulp status``: real processes, real containers in a root of their own, all that it can answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import libpulp
from tests.support.containers import build_container
from tests.support.documentation import contradictions
from tests.support.libpulp import needs_libpulp, padded_library, preloaded
from tests.support.livepatches import Said, build_id, ten_functions, trigger, ulp
from tests.support.targets import Slot, answers_library, caller, held, running, workshop
from tests.support.users import NOBODY, ordinary_user
from ulp.container import read
from ulp.coverage import Judge, Question, fixes, live_patches
from ulp.holdings import Holding
from ulp.rehearsal import rehearse
from ulp.result import Reason

NAME = f"libstatus{os.getpid()}.so.0"
LABELS = {1: "bsc#1200316 CVE-2021-3449", 2: "bsc#1200316 CVE-2021-3449 CVE-2025-1234"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")


@pytest.fixture(name="library", scope="module")
def _library() -> Path:
    return answers_library(name=NAME)


@pytest.fixture(name="root", scope="module")
def _root(library: Path) -> Path:
    """A system with two live patches for the library, where others may read it."""
    root = workshop() / "status"
    place = root / "usr/lib64/status-livepatches/0.1"
    place.mkdir(parents=True)
    for number, labels in LABELS.items():
        build_container(
            place,
            f"long new_answer(void) {{ return {number}00; }}\n",
            target=library,
            functions={"answer_0": "new_answer"},
            comments=labels,
            name=f"libstatus_livepatch{number}.so",
        )
    return root


def patch(root: Path, number: int) -> Path:
    (path,) = root.rglob(f"*_livepatch{number}.so")
    return path


def everything_is_visible() -> bool:
    """Root sees every process, except where a container's or sandbox's process 1 is hidden from it."""
    return "could not be looked at" not in ulp("patches").stderr


def status(root: Path, *words: str | Path, prefix: Sequence[str] = ()) -> Said:
    """``ulp status`` about our library: other test sessions have processes and live patches of their own."""
    return ulp("status", "-R", root, "--library", NAME, *words, prefix=prefix)


def rows(root: Path, *words: str | Path) -> dict[int, dict[str, Any]]:
    """The rows of ``status`` in JSON, by pid."""
    document = json.loads(status(root, "--json", *words).stdout)
    return {row["pid"]: row for row in document["processes"]}


def last_line(said: Said) -> str:
    return said.stdout.splitlines()[-1]


def test_the_whole_story(root: Path, library: Path) -> None:
    """Nobody is patched, one is, one has the older live patch, and at last all run the fix."""
    older, newest = patch(root, 1), patch(root, 2)
    with ExitStack() as stack:
        one, two, three = (stack.enter_context(running(caller(library))) for _ in range(3))
        said = status(root)
        assert said.status == 1
        assert last_line(said) == (
            f"ulp: 0 of 3 processes run the newest live patch for {NAME}; 3 can be patched now."
        )
        assert said.stderr == f"hint: ulp trigger --revert-all=target {newest}\n"
        assert trigger(one, newest).status == trigger(two, older).status == 0
        said = status(root)
        lines = [re.split(r" {2,}", line.strip()) for line in said.stdout.splitlines()[1:4]]
        assert lines == [
            [
                "1",
                "patched",
                NAME,
                "libstatus_livepatch2.so (direct): bsc#1200316 CVE-2021-3449 CVE-2025-1234",
                "caller",
            ],
            [
                "1",
                "outdated",
                NAME,
                "libstatus_livepatch1.so (direct): lacks CVE-2025-1234, can be patched now",
                f"caller (pid {two.pid})",
            ],
            ["1", "unpatched", NAME, "can be patched now", f"caller (pid {three.pid})"],
        ]
        said = status(root, "--cve", "cve-2021-3449")
        assert said.status == 1
        assert last_line(said) == (
            "ulp: 2 of 3 processes run the fix for CVE-2021-3449; 1 can be patched now."
        )
        command = said.stderr.removeprefix("hint: ulp ").split()
        done = ulp(*command, "-p", str(two.pid), "-p", str(three.pid))
        assert done.status == 0, done
        for words in ([], ["--cve=CVE-2021-3449"], ["--cve=CVE-2025-1234"], ["--cve", "BSC#1200316"]):
            said = status(root, *words)
            assert said.status == (0 if everything_is_visible() else 77)
            assert "ulp: 3 of 3 processes run the " in last_line(said) and said.stderr == ""
        assert status(root, "-p", str(one.pid)).status == 0
        assert (ulp("status", "-q", "-R", root, "-p", str(one.pid))) == Said(status=0)


def test_one_line_for_each_process_on_request(root: Path, library: Path) -> None:
    with running(caller(library)) as one, running(caller(library)) as two:
        trigger(one, patch(root, 2))
        said = ulp("status", "-v", "-R", root)
        lines = {line.split()[0]: line.split() for line in said.stdout.splitlines() if "caller" in line}
        assert lines[str(one.pid)][1:5] == ["caller", "patched", NAME, "libstatus_livepatch2.so"]
        assert lines[str(two.pid)][1:4] == ["caller", "unpatched", NAME]


def test_why_not(root: Path, library: Path, tmp_path: Path) -> None:
    """Traced by another; a build of the library that no live patch is for and that is gone from disk."""
    old = answers_library("-DOTHER=1", name=NAME)
    copy = Path(shutil.copy(old, tmp_path))
    with (
        running(caller(library)) as traced,
        running(compiled_with(copy)) as outlived,
        held(traced.pid) as tracer,
    ):
        copy.unlink()
        said = status(root)
        assert said.status == 1
        assert last_line(said) == (
            f"ulp: 0 of 2 processes run the newest live patch for {NAME}; 2 cannot: "
            f"another tracer holds the process (caller {traced.pid}), "
            f"no live patch is for the deleted build of {NAME} (caller {outlived.pid})."
        )
        assert "hint: Detach the debugger or tracer and try again.\n" in said.stderr
        assert "hint: Restarting a process " in said.stderr and "ulp trigger" not in said.stderr
        found = rows(root)
        assert found[traced.pid]["reason"] == "already-traced"
        assert str(tracer) in found[traced.pid]["detail"]
        assert (found[outlived.pid]["state"], found[outlived.pid]["fix"]) == ("no-live-patch", None)
        assert build_id(old) in found[outlived.pid]["detail"]


def compiled_with(library: Path) -> Path:
    """The caller's program, linked to the library at this path."""
    return caller(library, f"-DPLACE={library.parent.name}")


def test_a_build_on_disk_without_a_live_patch_is_told_but_not_counted(root: Path, library: Path) -> None:
    newer = answers_library("-DOTHER=2", name=NAME)
    with running(caller(newer)) as other:
        words = ("status", "-R", root, "-p", str(other.pid))
        said = ulp(*words)
        assert said.status == 2
        first, _, last = (
            said.stdout.splitlines()
        )  # between them: whether processes that start later are patched
        assert (
            first
            == f"ulp: 1 process uses a build of {NAME} for which there is no live patch; -v lists them."
        )
        assert last == "ulp: no process maps a build of a library for which there is a live patch."
        for more in (["-v"], ["--library", NAME]):
            said = ulp(*words, *more)
            assert said.status == 2
            assert "  other-build  " in said.stdout and build_id(newer) in said.stdout


def test_a_live_patch_whose_file_is_gone_counts_where_it_is_held(library: Path, tmp_path: Path) -> None:
    container = build_container(
        tmp_path,
        "long new_answer(void) { return 1; }\n",
        target=library,
        functions={"answer_0": "new_answer"},
        comments=f"CVE-2023-{os.getpid()}",
        name="x_livepatch1.so",
    )
    with running(caller(library)) as holder, running(caller(library)) as other:
        trigger(holder, container)
        container.unlink()
        said = ulp("status", "--cve", f"CVE-2023-{os.getpid()}")
        assert said.status == 1
        assert last_line(said) == (
            f"ulp: 1 of 2 processes runs the fix for CVE-2023-{os.getpid()}; 1 cannot: "
            f"the live patch is not installed (caller {other.pid})."
        ).replace("runs", "run")
        row = rows(tmp_path)[other.pid]
        assert row["detail"] == "x_livepatch1.so is in use elsewhere, but not installed"


def test_containers_that_are_named_take_the_place_of_the_installed_ones(root: Path, library: Path) -> None:
    with running(caller(library)) as target:
        trigger(target, patch(root, 1))
        assert ulp("status", "-p", str(target.pid), patch(root, 1)).status == 0
        everything = f"{patch(root, 1).parent}/*.so"
        assert ulp("status", "-p", str(target.pid), everything).status == 1
        assert ulp("status", "-p", str(target.pid), "--recursive", root).status == 1
        said = ulp("status", "--cve=CVE-2025-1234", patch(root, 1))
        assert (said.status, said.stdout) == (66, "")
        assert said.stderr == "ulp: among these live patches none names CVE-2025-1234\n"


def test_what_is_unknown_has_a_status_of_its_own(root: Path) -> None:
    said = ulp("status", "-R", root, "--cve", "CVE-2025-123")
    assert (said.status, said.stdout) == (66, "")
    assert said.stderr.startswith(
        "ulp: no live patch names CVE-2025-123, neither an installed one nor one that a process holds\n"
    )
    said = ulp("status", "-R", root, "--library", "/usr/lib64/libz.so.1", "--json")
    assert (said.status, said.stdout) == (66, "")
    assert "no live patch for a library called libz.so.1 is there" in said.stderr
    for wrong in ("CVE-2025", "2025-1234", "CVE-2025-1234 CVE-2025-1235", "CVE-2025-1234x"):
        said = ulp("status", "--cve", wrong)
        assert said.status == 64 and "is no number such as CVE-2025-1234" in said.stderr
    assert ulp("status", "-R", "/nonexistent").status == 66
    assert ulp("status", "-v", "-q").status == 64
    assert ulp("status", "-p", "no-such-process-name").status == 2


def test_nothing_is_installed(tmp_path: Path) -> None:
    said = ulp("status", "-R", tmp_path, "-p", str(os.getpid()))
    assert (said.status, said.stderr) == (2, "")
    assert said.stdout == "ulp: no live patch is installed, and no process holds one.\n"


def test_a_damaged_container_leaves_nothing_proven(root: Path, library: Path, tmp_path: Path) -> None:
    copied = tmp_path / "root"
    shutil.copytree(root, copied)
    damaged = patch(copied, 1)
    damaged.write_bytes(damaged.read_bytes().replace(NAME.encode(), b"\xff" * len(NAME)))
    with running(caller(library)) as target:
        words = ("status", "-R", copied, "-p", str(target.pid))
        assert ulp(*words).status == 1
        trigger(target, patch(copied, 2))
        said = ulp(*words)
        assert said.status == 65
        assert said.stderr.startswith(f"ulp: {damaged}: ") and "1 of 1 process" in said.stdout


@needs_root
def test_what_cannot_be_seen_is_not_proven(root: Path, library: Path) -> None:
    with running(caller(library), wrapper=NOBODY) as own:
        trigger(own, patch(root, 2))
        said = status(root, prefix=ordinary_user())
        assert said.status == 77
        assert "processes of other users could not be looked at; root can.\n" in said.stdout
        assert last_line(said).startswith("ulp: 1 of 1 process runs the newest live patch ")


def test_nobody_is_stopped_and_a_stopped_process_is_seen(root: Path, library: Path) -> None:
    with running(caller(library)) as target, running(caller(library)) as stopped:
        stopped.signal(signal.SIGSTOP)
        stopped.until(lambda: set(stopped.threads().values()) == {"T"}, "the stop")
        before = target.maps(), target.private_code()
        found = rows(root, "-p", str(target.pid), "-p", str(stopped.pid))
        assert {row["reason"] for row in found.values()} == {"would-change"}
        assert (target.maps(), target.private_code()) == before
        assert target[Slot.INTERRUPTED] == 0
        assert set(stopped.threads().values()) == {"T"}


def test_json(root: Path, library: Path) -> None:
    with running(caller(library)) as one, running(caller(library)) as two:
        trigger(one, patch(root, 2))
        words = ("-p", str(one.pid), "-p", str(two.pid), "--cve=cve-2025-1234")
        said = status(root, "--json", *words)
    document = json.loads(said.stdout)
    assert (said.status, document["schema"], document["version"]) == (1, "zypp-livepatch/ulp-status", 1)
    assert contradictions(document) == []
    assert (document["cve"], document["library"]) == ("CVE-2025-1234", NAME)
    assert document["verdict"] == "not-covered"
    assert document["summary"] == "1 of 2 processes run the fix for CVE-2025-1234; 1 can be patched now"
    counts = {"concerned": 2, "covered": 1, "patchable": 1, "stuck": 0, "other_builds": 0, "unseen": 0}
    assert document["counts"] == counts
    installed = [live["path"] for live in document["live_patches"] if live["target"] == NAME]
    assert installed == [str(patch(root, 1)), str(patch(root, 2))]
    patched, missing = document["processes"]
    assert (patched["pid"], patched["state"], patched["detail"]) == (one.pid, "patched", "")
    assert [held["container"] for held in patched["patches"]] == [str(patch(root, 2))]
    assert (missing["pid"], missing["state"], missing["reason"]) == (two.pid, "unpatched", "would-change")
    assert missing["fix"] == str(patch(root, 2)) and missing["patches"] == []


def test_who_was_patched_or_ended_meanwhile(root: Path, library: Path) -> None:
    """Between the look and the dry run, the plugin may have been at work."""
    container = read(patch(root, 2))
    with running(caller(library)) as fixed, running(caller(library)) as waiting:
        looked_at = [
            Holding(
                pid=pid,
                name="caller",
                patches=(),
                has_libpulp=False,
                libraries=((str(library), build_id(library)),),
            )
            for pid in (fixed.pid, waiting.pid, 2**22 + 1)
        ]
        trigger(fixed, patch(root, 2))
        patches = live_patches([container], looked_at)
        question = Question()
        judged = Judge(patches, fixes(patches, question), question).rows(looked_at)
        assert len(judged) == 3
        first, second = rehearse(judged, patch_process_one=False)
        assert (first.pid, first.state.value) == (fixed.pid, "patched")
        assert first.detail == "patched while ulp was looking"
        assert (second.pid, second.reason) == (waiting.pid, Reason.WOULD_CHANGE)


def test_process_one_is_named_when_it_is_left_out(root: Path, library: Path) -> None:
    """In a PID namespace of its own the target is process 1, as systemd is on a host."""
    wrapper = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    with running(caller(library), wrapper=wrapper, inner=True) as target:
        said = status(root, prefix=("nsenter", f"--target={target.pid}", "--pid", "--mount"))
        assert said.status == 1
        assert "; 1 cannot: process 1 is left out unless configured (caller 1)." in said.stdout
        assert "hint: With process-one = yes " in said.stderr


@needs_libpulp
def test_processes_with_libpulp() -> None:
    """Patched by its own tool, not patched, and disabled by their user: seen as all others are."""
    library = padded_library(name=f"libpulp{NAME}")
    container = ten_functions(200, library=library)
    with (
        preloaded(caller(library)) as theirs,
        preloaded(caller(library)) as open_,
        preloaded(caller(library)) as disabled,
        running(caller(library)) as direct,
    ):
        libpulp.apply(theirs, container)
        libpulp.libpulp("set_patchable", "-p", str(disabled.pid), "disable")
        assert trigger(direct, container).status == 0
        said = ulp("status", "--json", container)
        found = {row["pid"]: row for row in json.loads(said.stdout)["processes"]}
        assert said.status == 1 and len(found) == 4
        for pid, engine in ((theirs.pid, "pulp"), (direct.pid, "direct")):
            assert found[pid]["state"] == "patched"
            assert [held["engine"] for held in found[pid]["patches"]] == [engine]
        assert (found[open_.pid]["state"], found[open_.pid]["reason"]) == ("unpatched", "would-change")
        assert (found[disabled.pid]["state"], found[disabled.pid]["reason"]) == ("unpatched", "disabled")
        assert f"1 cannot: {Reason.DISABLED.sentence} (caller {disabled.pid})" in said.stdout
