# SPDX-License-Identifier: GPL-2.0-or-later
"""The record, its file and the archive of files."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError, NoInputError
from zypp_plugin import archive
from zypp_plugin.archive import DIRECTORIES, Archive, file_name, paths, read, this_worker
from zypp_plugin.report import (
    ContainerRow,
    KernelRow,
    PackageRow,
    ProcessRow,
    Report,
    State,
    Use,
    Worker,
    decode,
)

FULL = Report(
    state=State.DONE,
    started=1_800_000_000.25,
    finished=1_800_000_003.5,
    worker=Worker(pid=7, started=8, boot="b"),
    zypper=5,
    root="/",
    packages=(
        PackageRow(
            name="a-livepatches",
            kind="userspace",
            action="updated",
            evr="2-1",
            before=("1-1",),
            containers=(
                ContainerRow(
                    path="/x.so", use=Use.APPLIED, target="liba.so.1", build_id="00ff", labels=("CVE-1-2",)
                ),
                ContainerRow(path="/y.so", use=Use.REFUSED, why="broken \udcff"),
            ),
            notes=("a note",),
        ),
    ),
    processes=(
        ProcessRow(
            pid=9,
            name="evil \x1b[2J",
            library="/usr/lib/liba.so.1",
            outcome="SUCCESS",
            reason="applied",
            sentence="patched",
            pause=0.000_2,
            threads=3,
            busy=("f (10)",),
        ),
    ),
    kernel=(KernelRow(package="k", patch="livepatch_1", state="in-effect", sentence="it is"),),
    looked_at=100,
    unseen=1,
    problems=("one",),
    summary="all is well",
)


def without_surrogates(report: Report) -> Report:
    """What a report is once it was JSON: bytes that are no text have become visible."""
    [package] = report.packages
    good, bad = package.containers
    return replace(report, packages=(replace(package, containers=(good, replace(bad, why="broken \\xff"))),))


def test_a_report_survives_its_file() -> None:
    text = FULL.encode()
    assert json.loads(text)["schema"] == "zypp-livepatch/report"
    assert decode(text, name="x") == without_surrogates(FULL)


def test_fields_of_a_later_version_are_left_out() -> None:
    fields = json.loads(FULL.encode())
    fields["news"] = 1
    fields["processes"][0]["more"] = []
    assert decode(json.dumps(fields), name="x") == without_surrogates(FULL)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "zypp-livepatch/trigger"}, "another schema"),
        ({"version": 2}, "version 2"),
        ({"version": None}, "another schema"),
        ({"state": "great"}, "great"),
        ({"processes": 5}, "not a list"),
        ({"processes": [5]}, "not an object"),
        ({"worker": {}}, "missing"),
        ({"looked_at": True}, "not of type int"),
        ({"started": "now"}, "not of type float"),
    ],
)
def test_what_is_no_report_is_refused(change: dict[str, Any], says: str) -> None:
    text = json.dumps({**json.loads(FULL.encode()), **change})
    with pytest.raises(BadDataError, match=says) as raised:
        decode(text, name="the file")
    assert raised.value.sentence.startswith("the file is not a report")


@given(
    st.text(max_size=50)
    | st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists).map(json.dumps)
)
def test_any_text_is_a_report_or_refused(text: str) -> None:
    with pytest.raises(BadDataError):
        decode(text, name="x")


def new(*, seconds: float = 0, pid: int | None = None) -> Report:
    worker = this_worker()
    return Report(
        state=State.RUNNING,
        started=1_800_000_000.0 + seconds,
        worker=worker if pid is None else replace(worker, pid=pid),
    )


def save(report: Report, root: Path, *, keep: int = 3) -> Archive:
    kept = Archive(name=file_name(report), keep=keep, root=str(root))
    assert kept.save(report) == ""
    return kept


def test_commits_in_one_second_keep_their_order(tmp_path: Path) -> None:
    # a later one may well have the shorter pid
    reports = [new(seconds=0.2, pid=99_998), new(seconds=0.3, pid=1_003), new(seconds=0.4, pid=998)]
    for report in reports:
        save(report, tmp_path)
    assert [read(path).worker.pid for path in paths(root=str(tmp_path))] == [998, 1_003, 99_998]


def test_reports_are_kept_the_newest_few(tmp_path: Path) -> None:
    for seconds in range(6):
        kept = save(new(seconds=seconds), tmp_path)
    found = paths(root=str(tmp_path))
    assert [path.name for path in found] == [file_name(new(seconds=seconds)) for seconds in (5, 4, 3)]
    assert kept.path == found[0]
    place = tmp_path / DIRECTORIES[0]
    assert (place / "last").resolve() == found[0].resolve()
    assert sorted(path.name for path in place.iterdir()) == sorted([*(path.name for path in found), "last"])
    assert found[0].stat().st_mode & 0o777 == 0o600
    assert place.stat().st_mode & 0o777 == 0o750


def test_a_report_grows_in_its_file(tmp_path: Path) -> None:
    report = new()
    kept = save(report, tmp_path)
    assert kept.save(replace(report, state=State.DONE, looked_at=7)) == ""
    [path] = paths(root=str(tmp_path))
    assert (read(path).state, read(path).looked_at) == (State.DONE, 7)


def test_where_the_usual_place_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    report = new()
    kept = Archive(name=file_name(report), keep=3, root=str(tmp_path))
    said = kept.save(report)
    assert "cannot be written to /var/lib/zypp-livepatch/reports: Not a directory" in said
    assert "it is in /run/zypp-livepatch/reports until the next boot" in said
    (tmp_path / "run/zypp-livepatch/reports").chmod(0o750)
    assert read(paths(root=str(tmp_path))[0]) == report


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    for name in ("var", "run"):
        (tmp_path / name).write_text("a file")
    report = new()
    said = Archive(name=file_name(report), keep=3, root=str(tmp_path)).save(report)
    assert said.endswith("Not a directory")


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING, State.SETTLING])
def test_a_worker_that_is_gone_is_seen(tmp_path: Path, state: State) -> None:
    alive = replace(new(), state=state)
    save(alive, tmp_path)
    assert read(paths(root=str(tmp_path))[0]).state is state
    for worker in (
        replace(alive.worker, pid=2**22 + 1),
        replace(alive.worker, started=1),
        replace(alive.worker, boot="another"),
    ):
        kept = save(replace(alive, worker=worker, started=alive.started + 1), tmp_path)
        assert kept.path
        assert read(kept.path).state is State.INTERRUPTED


def test_a_zombie_is_gone(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert archive._start_time(child.pid, "/proc") is None
    child.wait()


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="there is no report"):
        read(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\0")
    with pytest.raises(BadDataError, match="not a report"):
        read(tmp_path / "binary")
    place = tmp_path / DIRECTORIES[0]
    place.mkdir(parents=True)
    for name in ("x.json", ".draft-1", "20261121T000000Z-1.json.orig"):
        (place / name).touch()
    assert paths(root=str(tmp_path)) == []
