# SPDX-License-Identifier: GPL-2.0-or-later
"""Which containers are applied: out of a real rpm database and files under a root."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from host.exclusions import Exclusions, Rule
from host.rpmdb import Package
from host.sysconfig import Livepatching
from tests.support import rpmroot, rpms
from tests.support.containers import build_container, build_library
from tests.support.signing import Signing
from zypp_plugin.job import Job, PackageStep
from zypp_plugin.report import Use
from zypp_plugin.selection import Selection, describe, select, with_users
from zypp_plugin.transaction import USERSPACE

Install = Callable[..., Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Containers for two builds of one library."""
    place = tmp_path_factory.mktemp("files")
    made: dict[str, Path] = {}
    for build in ("old", "new"):
        (place / build).mkdir()
        library = build_library(
            place / build, f"int answer(void) {{ return {len(made)}; }}", name="liba.so.1"
        )
        for number in (1, 2, 10):
            name = f"liba_{build}_livepatch{number}.so"
            made[name] = build_container(
                place / build,
                f"int fixed(void) {{ return {number}; }}",
                target=library,
                functions={"answer": "fixed"},
                name=name,
            )
    return made


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Installs packages under a root, which is returned."""

    def work(*specs: rpms.Spec, sign: Callable[[list[Path]], None] = lambda _: None) -> Path:
        root = tmp_path / "root"
        built = rpms.build(specs, into=tmp_path / "out", work=tmp_path / "build")
        sign(built)
        rpmroot.create(root)
        words = ["rpm", f"--root={root}", "--upgrade", "--nodeps", "--noscripts", "--nosignature"]
        subprocess.run([*words, *built], check=True, capture_output=True)
        return root

    return work


def chosen(
    root: Path,
    *names: str,
    sysconfig: Livepatching | None = None,
    exclusions: Exclusions | None = None,
    signatures: bool = False,
) -> Selection:
    steps = tuple(
        PackageStep(name=name, kind=USERSPACE, action="+", stage="ok", evr="1-1") for name in names
    )
    return select(
        Job(root=str(root), zypper=1, steps=steps),
        sysconfig=sysconfig or Livepatching(),
        exclusions=exclusions or Exclusions(),
        signatures=signatures,
    )


def applied(selection: Selection) -> list[str]:
    names = [Path(container.path).name for container in selection.containers]
    rows = [
        Path(row.path).name
        for package in selection.packages
        for row in package.containers
        if row.use is Use.APPLIED
    ]
    assert sorted(names) == sorted(rows)
    return sorted(names)


def refused(selection: Selection) -> dict[str, str]:
    return {
        Path(row.path).name: row.why
        for package in selection.packages
        for row in package.containers
        if row.use is Use.REFUSED
    }


def test_the_highest_number_of_each_build(install: Install, files: dict[str, Path]) -> None:
    root = install(rpms.livepatch_spec("a-livepatches", list(files.values())))
    selection = chosen(root, "a-livepatches")
    assert applied(selection) == ["liba_new_livepatch10.so", "liba_old_livepatch10.so"]
    [package] = selection.packages
    assert [row.use for row in package.containers].count(Use.SUPERSEDED) == 4
    assert {row.target for row in package.containers} == {"liba.so.1"}


def test_of_two_packages_for_one_build_one_counts(install: Install, files: dict[str, Path]) -> None:
    root = install(
        rpms.livepatch_spec("a-livepatches", [files["liba_old_livepatch1.so"]]),
        rpms.livepatch_spec(
            "b-livepatches", [files["liba_old_livepatch2.so"], files["liba_new_livepatch1.so"]]
        ),
    )
    selection = chosen(root, "a-livepatches", "b-livepatches")
    assert applied(selection) == ["liba_new_livepatch1.so", "liba_old_livepatch2.so"]


def test_files_elsewhere_or_of_nobody_are_not_applied(install: Install, files: dict[str, Path]) -> None:
    elsewhere = rpms.Spec(
        name="a-livepatches", files={"/usr/lib64/other/x_livepatch1.so": files["liba_old_livepatch1.so"]}
    )
    root = install(elsewhere)
    stranger = root / "usr/lib64/a-livepatches/1/stranger_livepatch99.so"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(files["liba_old_livepatch2.so"].read_bytes())
    selection = chosen(root, "a-livepatches")
    assert applied(selection) == []
    assert refused(selection) == {stranger.name: "no installed package has put it there"}


def test_what_is_not_as_the_package_has_it(install: Install, files: dict[str, Path]) -> None:
    root = install(
        rpms.livepatch_spec("a-livepatches", [files[f"liba_old_livepatch{n}.so"] for n in (1, 2, 10)])
    )
    place = root / "usr/lib64/a-livepatches/1"
    (place / "liba_old_livepatch10.so").write_bytes(files["liba_new_livepatch10.so"].read_bytes())
    (place / "liba_old_livepatch2.so").unlink()
    selection = chosen(root, "a-livepatches")
    assert applied(selection) == ["liba_old_livepatch1.so"]
    why = refused(selection)
    assert "is not what its package put there" in why["liba_old_livepatch10.so"]
    assert "No such file" in why["liba_old_livepatch2.so"]


def test_a_package_that_ships_what_is_no_live_patch_to_trust(
    install: Install, files: dict[str, Path]
) -> None:
    place = "/usr/lib64/a-livepatches"
    good, setuid, group, others = (
        f"{place}/{name}_livepatch1.so" for name in ("good", "setuid", "group", "others")
    )
    container = files["liba_old_livepatch1.so"]
    root = install(
        rpms.Spec(
            name="a-livepatches",
            files={**dict.fromkeys((good, setuid, group, others), container), "/usr/lib64/x.so": container},
            modes={good: 0o644, setuid: 0o4755, group: 0o664, others: 0o646},
            links={
                f"{place}/out.so": "../x.so",
                f"{place}/absolute.so": "/etc/passwd",
                f"{place}/in.so": "good_livepatch1.so",
            },
        )
    )
    selection = chosen(root, "a-livepatches")
    assert applied(selection) == ["good_livepatch1.so"]
    why = refused(selection)
    assert why.keys() == {Path(path).name for path in (setuid, group, others)} | {"out.so", "absolute.so"}
    assert "is setuid (mode 4755)" in why["setuid_livepatch1.so"]
    assert "can be written by its group (mode 0664)" in why["group_livepatch1.so"]
    assert "can be written by others (mode 0646)" in why["others_livepatch1.so"]
    assert "is a symbolic link" in why["out.so"] and "is a symbolic link" in why["absolute.so"]


def test_who_else_could_have_written_it(install: Install, files: dict[str, Path]) -> None:
    root = install(rpms.livepatch_spec("a-livepatches", [files["liba_old_livepatch1.so"]]))
    place = root / "usr/lib64/a-livepatches"
    name = "liba_old_livepatch1.so"
    os.chown(place / "1" / name, 1000, 0)
    assert "belongs to user 1000, not to root" in refused(chosen(root, "a-livepatches"))[name]
    os.chown(place / "1" / name, 0, 0)
    (place / "1").chmod(0o777)
    assert f"{place}/1 can be written by others" in refused(chosen(root, "a-livepatches"))[name]
    (place / "1").chmod(0o755)
    assert applied(chosen(root, "a-livepatches")) == [name]
    (place / "1").rename(root / "elsewhere")
    (place / "1").symlink_to(root / "elsewhere")
    assert f"{place}/1 is a symbolic link" in refused(chosen(root, "a-livepatches"))[name]


def test_what_was_checked_is_what_is_applied(install: Install, files: dict[str, Path]) -> None:
    """The file is replaced all the time: what is chosen is the package's content, or nothing."""
    good, bad = files["liba_old_livepatch1.so"], files["liba_old_livepatch2.so"]
    root = install(rpms.livepatch_spec("a-livepatches", [good]))
    path = root / "usr/lib64/a-livepatches/1" / good.name
    contents = [good.read_bytes(), bad.read_bytes()]
    stop = threading.Event()

    def replace_it() -> None:
        for content in itertools.cycle(contents):
            draft = path.with_suffix(".draft")
            draft.write_bytes(content)
            draft.rename(path)
            if stop.is_set():
                return

    thread = threading.Thread(target=replace_it)
    thread.start()
    try:
        outcomes = set()
        for _ in range(60):
            selection = chosen(root, "a-livepatches")
            outcomes |= {container.image for container in selection.containers}
    finally:
        stop.set()
        thread.join()
    assert outcomes <= {contents[0]}


def test_signatures(install: Install, files: dict[str, Path], tmp_path: Path) -> None:
    signing = Signing(tmp_path / "gnupg")
    specs = [rpms.livepatch_spec(f"{name}-livepatches", [files["liba_old_livepatch1.so"]]) for name in "ab"]
    root = install(*specs, sign=lambda built: signing.sign(built[0]))
    names = [spec.name for spec in specs]
    assert applied(chosen(root, "a-livepatches")) == ["liba_old_livepatch1.so"]
    unknown = refused(chosen(root, *names[:1], signatures=True))
    assert unknown == {
        "liba_old_livepatch1.so": "the signature of a-livepatches 1-1 does not hold: public key not available"
    }
    signing.trust(root)
    assert applied(chosen(root, "a-livepatches", signatures=True)) == ["liba_old_livepatch1.so"]
    assert refused(chosen(root, "b-livepatches", signatures=True)) == {
        "liba_old_livepatch1.so": "b-livepatches 1-1 is not signed"
    }


def test_a_package_that_is_excluded(install: Install, files: dict[str, Path]) -> None:
    root = install(rpms.livepatch_spec("a-livepatches", [files["liba_old_livepatch1.so"]]))
    rule = Rule(kind="package", pattern="a-*", file="/etc/x.conf", line=3)
    selection = chosen(root, "a-livepatches", exclusions=Exclusions(rules=(rule,)))
    assert applied(selection) == []
    assert selection.packages[0].notes == (
        "a-livepatches patches no process: left out by /etc/x.conf, line 3: package = a-*",
    )


@pytest.mark.parametrize(
    ("value", "count", "problem"),
    [("never", 0, ""), ("always", 1, ""), ("auto", 1, ""), ("nevr", 1, "'nevr', not auto")],
)
def test_what_the_administrator_says(
    install: Install, files: dict[str, Path], value: str, count: int, problem: str
) -> None:
    root = install(rpms.livepatch_spec("a-livepatches", [files["liba_old_livepatch1.so"]]))
    selection = chosen(root, "a-livepatches", sysconfig=Livepatching(values={"LIVEPATCH_A": value}))
    assert len(applied(selection)) == count
    assert problem in " ".join(selection.problems)
    if value == "never":
        assert "LIVEPATCH_A=never in /etc/sysconfig/livepatching" in selection.packages[0].notes[0]


def step(action: str = "+", stage: str = "ok", before: tuple[str, ...] = ()) -> PackageStep:
    return PackageStep(
        name="a",
        kind=USERSPACE,
        action=action,
        stage=stage,
        evr="2-1",
        before=before,
        containers_before=("/x.so",),
    )


def package(evr: str = "2-1") -> Package:
    return Package(name="a", evr=evr, arch="noarch", files=())


@pytest.mark.parametrize(
    ("made", "now", "action", "note"),
    [
        (step(), package(), "installed", ""),
        (step(before=("1-1",)), package(), "updated", ""),
        (step(before=("3-1",)), package(), "downgraded", ""),
        (step(before=("2-1",)), package(), "reinstalled", ""),
        (step("-"), None, "removed", "a was removed"),
        (step("-", stage="err"), package(), "installed", "a 2-1 was to be removed, 2-1 is installed"),
        (
            step(stage="err", before=("1-1",)),
            package("1-1"),
            "failed",
            "could not be installed, it is still 1-1",
        ),
        (step(stage="err"), None, "failed", "a 2-1 was not installed"),
        (step(stage=""), None, "failed", "a 2-1 was not installed"),
        (step(stage=""), package(), "installed", ""),
        (step(), None, "removed", "a 2-1 was installed and has been removed since"),
        (step(), package("3-1"), "installed", "a 2-1 has been replaced by 3-1 since"),
    ],
)
def test_what_became_of_a_package(made: PackageStep, now: Package | None, action: str, note: str) -> None:
    row = describe(made, now)
    assert row.action == action
    assert note in " ".join(row.notes)
    assert bool(note) == bool(row.notes)


def test_who_still_holds_what_was_removed() -> None:
    row = describe(step("-"), None)
    held = with_users(row, {"/x.so": ["p (1)", "q (2)"]}, root="/")
    assert held.containers[0].why == "still applied in p (1), q (2)"
    assert "2 processes keep the fixed functions" in held.notes[0]
    assert "no process holds" in with_users(row, {"/y.so": ["p (1)"]}, root="/").notes[0]
