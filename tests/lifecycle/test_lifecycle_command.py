# SPDX-License-Identifier: GPL-2.0-or-later
"""The program zypper-lifecycle as zypper runs it, on a real rpm database and real repositories."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.test_products import MODULE, SLES
from tests.support import dated, zypp_root
from tests.support.dated import TODAY
from tests.support.documentation import contradictions
from tests.support.rpms import Spec
from tests.support.zypp_root import ZyppRoot

LIVEPATCH = "kernel-livepatch-6_4_0-150600_9-default"
LIBRARY = "glibc-livepatches"
SOON = TODAY + datetime.timedelta(days=30)
LATER = TODAY + datetime.timedelta(days=300)
SUSE = "Vendor: SUSE LLC <https://www.suse.com/>"


def release(name: str, *, end: str | None) -> Spec:
    """A package that makes its repository a product's; ``end`` is written as SUSE does."""
    provides = [f"Provides: product() = {name}", f"Provides: product({name}) = 1"]
    if end is not None:
        value = f" = {end.replace('-', '%%2D')}" if end else ""
        provides.append(f"Provides: product-endoflife(){value}")
    return Spec(name=f"{name.lower()}-release", tags=[SUSE, *provides])


def suse(name: str, version: str = "1", release: str = "1", *, epoch: int = 0) -> Spec:
    return Spec(name=name, version=version, release=release, epoch=epoch, tags=[SUSE])


INSTALLED = (
    suse(LIVEPATCH, "2", "150600.2.1"),
    suse(LIBRARY, "0.1"),
    suse("dated"),
    suse("old", "1.0", epoch=3),
    suse("plain"),
    suse("replaced"),
    suse("stray"),
    suse("updated"),
)
DATA = f"""# format: name,version,date,successor
{LIVEPATCH},*,{SOON}
old,1.0-*,2017-01-22
old,2-1,{LATER}
dated,*,{LATER}
repl*,*,,/^new-<1>$/
absent,*,{SOON}
"""


def lifecycle(system: ZyppRoot, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*dated.command("lifecycle.cli"), "--root", str(system.root), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )


def document(system: ZyppRoot, *arguments: str) -> dict[str, Any]:
    done = lifecycle(system, "--json", *arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def make(work: Path) -> ZyppRoot:
    made = zypp_root.make(work)
    made.install(*INSTALLED)
    made.cache_installed()
    repositories = {
        "pool": ("name=SLES-Pool", [release("SLES", end="2031-07-31"), *INSTALLED[:-2]]),
        "updates": (
            "name=SLES-Updates",
            [
                suse("dated", "2"),
                suse("new-aced", "2"),
                suse("updated", "2"),
                *(suse(LIVEPATCH, str(number), "150600.2.1") for number in (3, 4)),
                suse(LIBRARY, "0.2"),
            ],
        ),
    }
    for alias, (settings, packages) in repositories.items():
        made.add_repository(alias, *packages, settings=settings)
    made.write("etc/products.d/SLES.prod", SLES)
    made.write("etc/products.d/module.prod", MODULE)
    (made.root / "etc/products.d/baseproduct").symlink_to("SLES.prod")
    made.write("usr/share/lifecycle/data/SLES.lifecycle", DATA)
    return made


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> ZyppRoot:
    return make(tmp_path_factory.mktemp("lifecycle"))


def line(name: str, text: str, last: str = "") -> str:
    return f"{name:<40} {text:<40} {last}\n"


PRODUCTS = (
    f"\n{'Product end of general support':<55} \n"
    "Codestream: SUSE Linux Enterprise Server 15             2028-07-31\n"
    "   Product: SUSE Linux Enterprise Server 15 SP6         n/a*\n"
    f"\n{'Module end of general support':<55} \n"
    "Live Patching Module                                    2026-07-31\n"
)
NOW = (
    line("old-1.0-*", "Now")
    + line("replaced", "Now, installed 1-1, successor available new-aced-2-1")
    + line("updated", "Now, installed 1-1, update available 2-1", "2031-07-31")
)
LIVE = line(LIVEPATCH, f"{SOON}, installed 2-150600.2.1, update available 4-150600.2.1", str(SOON))
DATED = line("dated", f"{LATER}, installed 1-1, update available 2-1", str(LATER))
GLIBC = line(LIBRARY, "2031-07-31, installed 0.1-1, update available 0.2-1", "2031-07-31")
PAGE = "\n*) See https://www.suse.com/lifecycle for latest information\n"


def test_all_that_ends(system: ZyppRoot) -> None:
    done = lifecycle(system)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{PRODUCTS}\nPackage end of support if different from product:\n{NOW}{LIVE}{DATED}{GLIBC}{PAGE}"
    )


@pytest.mark.parametrize("arguments", [("--days", "30"), ("--date", str(SOON))])
def test_what_ends_before_a_date(system: ZyppRoot, arguments: tuple[str, str]) -> None:
    done = lifecycle(system, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    # A live patch that can be updated is due, as in SUSE's report, but says until when it is maintained.
    assert done.stdout == (
        f"\n{f'Module end of general support before {SOON}':<55} \n"
        "Live Patching Module                                    2026-07-31\n"
        f"\nPackage end of support before {SOON}:\n{NOW}{LIVE}{GLIBC}\n"
    )
    assert LIVEPATCH not in lifecycle(system, "--days", "29").stdout


def test_nothing_ends(system: ZyppRoot, tmp_path: Path) -> None:
    quiet = zypp_root.make(tmp_path)
    quiet.install(Spec(name="plain"))
    done = lifecycle(quiet, "--date", "2001-01-01")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "\nNo products whose support ends before 2001-01-01.\n"
        "\nNo packages whose support ends before 2001-01-01.\n\n"
    )
    assert lifecycle(quiet).stdout == (
        "\nNo products.\n\nNo packages with end of support different from product.\n\n"
    )


def test_all_that_ends_ends_with_its_product(tmp_path: Path) -> None:
    plain = zypp_root.make(tmp_path)
    plain.install(suse("plain"))
    plain.add_repository("pool", release("SLES", end="2031-07-31"), suse("plain"))
    done = lifecycle(plain, "--date", "2032-01-01")
    assert done.stdout.endswith("\nNo packages with end of support different from product.\n\n")
    sooner = lifecycle(plain, "--date", "2031-07-30")
    assert sooner.stdout.endswith("\nNo packages whose support ends before 2031-07-30.\n\n")


@pytest.mark.parametrize(("end", "shown"), [("2031-07-31", "2031-07-31"), ("", "n/a*"), (None, "-")])
@pytest.mark.parametrize("cached", [True, False])
def test_the_three_ends_of_a_repositorys_product(
    tmp_path: Path, end: str | None, shown: str, cached: bool
) -> None:
    plain = zypp_root.make(tmp_path)
    plain.install(suse("plain"))
    plain.add_repository("pool", release("SLES", end=end), suse("plain"), cached=cached)
    page = PAGE if "*" in shown else "\n"
    assert lifecycle(plain, "plain").stdout == f"\nPackage end of support:\n{line('plain', shown)}{page}"


def test_named_packages(system: ZyppRoot) -> None:
    done = lifecycle(system, LIVEPATCH, "plain", "stray", "replaced", "plain")
    assert (done.returncode, done.stderr) == (0, "")
    plain, stray = line("plain", "2031-07-31"), line("stray", "-")
    replaced = line("replaced", "Now, installed 1-1, successor available new-aced-2-1")
    assert done.stdout == f"\nPackage end of support:\n{LIVE}{plain}{stray}{replaced}{plain}\n"


def test_a_named_package_that_is_not_installed(system: ZyppRoot) -> None:
    done = lifecycle(system, "plain", "absent", "\x1b[2J")
    assert done.returncode == 1
    assert done.stdout.endswith("absent is not installed\n\\x1b[2J is not installed\n\n")


def test_several_versions_of_one_name(tmp_path: Path) -> None:
    kernels = zypp_root.make(tmp_path)
    tags = ["Provides: multiversion(kernel)"]
    for number in ("9", "10"):
        kernels.install(Spec(name="kernel-default", version=number, tags=tags))
    kernels.add_repository(
        "updates", *(Spec(name="kernel-default", version=n, tags=tags) for n in ("10", "11"))
    )
    kernels.write("etc/zypp/zypp.conf", "[main]\nmultiversion = provides:multiversion(kernel)\n")
    kernels.write("etc/products.d/P.prod", "<product><name>P</name></product>")
    kernels.write("usr/share/lifecycle/data/P.lifecycle", f"kernel-default,9-1,2017-01-22\n*,10-*,{SOON}\n")
    done = lifecycle(kernels, "kernel-default")
    assert done.stdout == (
        "\nPackage end of support:\n"
        + line("kernel-default-10-*", f"{SOON}, installed 10-1, update available 11-1")
        + line("kernel-default-9-1", "Now, installed 9-1, update available 11-1")
        + "\n"
    )


def test_the_place_of_a_date(system: ZyppRoot) -> None:
    place = system.root / "usr/share/lifecycle/data/SLES.lifecycle:3"
    done = lifecycle(system, "-v", "old")
    assert done.stdout == f"\nPackage end of support:\n{line('old-1.0-*', 'Now')}    {place}\n\n"
    assert lifecycle(system, "-v", "--no-verbose", "old").stdout == lifecycle(system, "old").stdout


def test_what_was_saved_is_not_reported_again(system: ZyppRoot, tmp_path: Path) -> None:
    file = str(tmp_path / "status.xml")
    first = lifecycle(system, "--diff", file, "--save", file)
    assert (first.returncode, first.stdout) == (0, lifecycle(system).stdout)
    again = lifecycle(system, "--diff", file)
    assert again.returncode == 1
    heading, _, rest = again.stdout.partition("\n")
    since = f"since {dated.NOW:%Y-%m-%d %H:%M:%S} +0000"
    assert heading == f"Reporting changes {since}"
    assert rest == (
        f"\nNo products changed {since}.\n"
        f"\nNo packages with end of support different from product changed {since}.\n\n"
    )
    assert lifecycle(system, "--diff", file, "--days", "30").stdout == (
        f"{heading}\n\nNo products whose support ends before {SOON}.\n"
        "\nNo packages with end of support different from product.\n\n"
    )
    assert document(system, "--diff", file)["since"] == since.removeprefix("since ")


def test_what_changed_since_susesplugin_saved(system: ZyppRoot, tmp_path: Path) -> None:
    seconds = int(datetime.datetime.combine(SOON, datetime.time(), datetime.UTC).timestamp())
    file = tmp_path / "status.xml"
    file.write_text(
        f"""<report date='2026-01-01 00:00:00 +0000'>
    <product name='SLES' eol='1000000000000000'/>
    <product name='gone' eol='1000000000000001'/>
    <package name='{LIVEPATCH}' edition='2-150600.2.1' eol='{seconds}'/>
    <package name='updated' edition='0-1' eol='0'/>
    <package name='old' edition='3:1.0-1' eol='0'/>
</report>"""
    )
    done = lifecycle(system, "--diff", str(file))
    heading = f"\n{'Module end of general support':<55} \n"
    assert done.stdout.startswith(f"Reporting changes since 2026-01-01 00:00:00 +0000\n{heading}")
    assert LIVEPATCH not in done.stdout
    assert line("updated", "Now, installed 1-1, update available 2-1", "2031-07-31") in done.stdout
    assert "old-1.0" not in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no XML", "syntax error"),
        ("<other/>", "it should hold <report date"),
        ("<report/>", "it should hold <report date"),
        ("<report date='x'><product name='a'/></report>", "an entry has no 'eol'"),
        (
            "<report date='x'><package name='a' edition='1' eol='soon'/></report>",
            "an entry's eol is no number",
        ),
    ],
)
def test_a_file_that_save_did_not_write(system: ZyppRoot, tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "status.xml"
    file.write_text(content)
    done = lifecycle(system, "--diff", str(file), "--save", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file} is no report that --save wrote: {words}" in done.stderr
    assert file.read_text() == content


def test_a_place_that_cannot_be_written(system: ZyppRoot, tmp_path: Path) -> None:
    done = lifecycle(system, "--save", str(tmp_path / "nowhere/file"))
    assert (done.returncode, done.stdout) == (2, lifecycle(system).stdout)
    assert "nowhere/file: No such file or directory" in done.stderr


def test_json(system: ZyppRoot) -> None:
    answer = document(system)
    assert (answer["schema"], answer["version"]) == ("zypp-livepatch/lifecycle", 2)
    assert (answer["today"], answer["until"], answer["problems"]) == (str(TODAY), None, [])
    assert [(product["name"], product["end"]) for product in answer["products"]] == [
        ("SLES", None),
        ("sle-module-live-patching", "2026-07-31"),
    ]
    found = {package["name"]: package for package in answer["packages"]}
    assert {name: package["end"] for name, package in found.items()} == {
        "old": "2017-01-22",
        "replaced": None,
        "updated": None,
        LIVEPATCH: str(SOON),
        "dated": str(LATER),
        LIBRARY: "2031-07-31",
    }
    assert found["old"]["edition"] == "3:1.0-1"
    assert [package["ended"] for package in answer["packages"]] == [True, True, True, False, False, False]
    assert found[LIVEPATCH]["update"] == {
        "name": LIVEPATCH,
        "edition": "4-150600.2.1",
        "repository": "SLES-Updates",
    }
    assert contradictions(answer) == []
    named = document(system, "replaced", "absent")
    assert [package["successor"]["name"] for package in named["packages"]] == ["new-aced"]
    assert named["not_installed"] == ["absent"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--days", "x"), "must be a number of days"),
        (("--days", "999999999"), "too far away"),
        (("--date", "tomorrow"), "is no date"),
        (("--days", "1", "plain"), "do not go together"),
        (("--save", "file", "plain"), "not about named ones"),
        (("--diff", "file", "plain"), "not about named ones"),
        (("--nonsense",), "no option --nonsense"),
    ],
)
def test_wrong_options_exit_with_2(system: ZyppRoot, arguments: tuple[str, ...], words: str) -> None:
    done = lifecycle(system, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_wrong_line_is_named_and_the_rest_is_shown(system: ZyppRoot) -> None:
    file = system.write("var/lib/lifecycle/data/SLES.lifecycle", "old;1;2030-01-01\n")
    try:
        done = lifecycle(system)
    finally:
        file.unlink()
    assert done.returncode == 2
    assert LIVEPATCH in done.stdout
    assert f"{file}:1: a line has three or four fields" in done.stderr


def test_a_repository_that_vanished_is_named_and_the_rest_is_shown(system: ZyppRoot) -> None:
    file = system.write("etc/zypp/repos.d/gone.repo", "[gone]\n")
    try:
        done = lifecycle(system)
        names = document(system)["problems"]
    finally:
        file.unlink()
    assert (done.returncode, done.stdout) == (2, lifecycle(system).stdout)
    assert "the repository gone is left out: there are no metadata in" in done.stderr
    assert len(names) == 1


def test_a_lock_that_is_not_understood_is_named(system: ZyppRoot) -> None:
    file = system.write("etc/zypp/locks", "\nsolvable_name: updated\nmatch_type: fuzzy\n")
    try:
        done = lifecycle(system, "updated")
    finally:
        file.unlink()
    assert done.returncode == 2
    assert "update available" in done.stdout
    assert f"{file}:3: there is no match_type 'fuzzy'; the lock was left out" in done.stderr


def test_a_product_file_that_is_no_xml(system: ZyppRoot) -> None:
    file = system.write("etc/products.d/bad.prod", "<product")
    try:
        done = lifecycle(system)
    finally:
        file.unlink()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file} is not an XML file" in done.stderr


def test_an_expression_that_would_run_for_ever(system: ZyppRoot) -> None:
    file = system.write("var/lib/lifecycle/data/SLES.lifecycle", f"/^(.+)+!$/,*,{SOON}\n")
    try:
        done = lifecycle(system)
    finally:
        file.unlink()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}:1: the regular expression" in done.stderr


def test_without_a_database_it_ends_with_2(tmp_path: Path) -> None:
    done = lifecycle(ZyppRoot(tmp_path, tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no rpm database" in done.stderr
