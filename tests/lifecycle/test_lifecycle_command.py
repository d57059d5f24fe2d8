# SPDX-License-Identifier: GPL-2.0-or-later
"""The program zypper-lifecycle as zypper runs it, on a real rpm database."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.installed import installed_packages, owners
from tests.lifecycle.test_products import MODULE, SLES, write
from tests.support import rpms
from tests.support.installed_root import install

PROGRAM = Path(sys.executable).with_name("zypper-lifecycle")
LIVEPATCH = "kernel-livepatch-6_4_0-150600_9-default"
TODAY = datetime.datetime.now(datetime.UTC).date()
SOON = TODAY + datetime.timedelta(days=30)
LATER = TODAY + datetime.timedelta(days=300)
LIMITS = "zypper: available updates and successors are not looked for yet\n"


def lifecycle(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("lifecycle")
    root = work / "root"
    module = root / "module.ko"
    root.mkdir()
    module.touch()
    specs = [
        rpms.Spec(name=LIVEPATCH, version="2", release="150600.2.1", files={"/lib/livepatch.ko": module}),
        rpms.Spec(name="old", version="1.0", epoch=3),
        rpms.Spec(name="plain"),
        rpms.Spec(name="replaced"),
    ]
    install(root, specs, work=work)
    write(root, "SLES.prod", SLES)
    write(root, "module.prod", MODULE)
    (root / "etc/products.d/baseproduct").symlink_to("SLES.prod")
    data = root / "usr/share/lifecycle/data"
    data.mkdir(parents=True)
    (data / "SLES.lifecycle").write_text(
        f"# format: name,version,date\n{LIVEPATCH},*,{SOON}\nold,1.0-*,2017-01-22\nold,2-1,{LATER}\n"
        f"replaced,*,,plain\nabsent,*,{SOON}\n"
    )
    return root


def test_what_is_installed(root: Path) -> None:
    packages = installed_packages(str(root))
    assert [(package.name, package.edition) for package in packages] == [
        (LIVEPATCH, "2-150600.2.1"),
        ("old", "1.0-1"),
        ("plain", "1-1"),
        ("replaced", "1-1"),
    ]
    assert packages[1].label == "old-1.0-1.noarch"


def test_owners_of_files(root: Path) -> None:
    found = owners(["/lib/livepatch.ko", "/lib/nobodys"], root=str(root))
    assert {path: owner.package.name for path, owner in found.items()} == {"/lib/livepatch.ko": LIVEPATCH}


def test_all_that_ends(root: Path) -> None:
    done = lifecycle(root)
    assert (done.returncode, done.stderr) == (0, LIMITS)
    assert done.stdout == (
        "\n"
        "Product end of general support\n"
        "Codestream: SUSE Linux Enterprise Server 15             2028-07-31\n"
        "   Product: SUSE Linux Enterprise Server 15 SP6         n/a*\n"
        "\n"
        "Module end of general support\n"
        "Live Patching Module                                    2026-07-31\n"
        "\n"
        "Package end of support if different from product:\n"
        "old-1.0-*                                Now\n"
        f"{LIVEPATCH}  {SOON}\n"
        "\n"
        "*) See https://www.suse.com/lifecycle for latest information\n"
    )


@pytest.mark.parametrize("arguments", [("--days", "30"), ("--date", str(SOON))])
def test_what_ends_before_a_date(root: Path, arguments: tuple[str, str]) -> None:
    done = lifecycle(root, *arguments)
    assert done.returncode == 0
    assert f"\nPackage end of support before {SOON}:\n" in done.stdout
    assert f"{LIVEPATCH}  {SOON}\n" in done.stdout
    sooner = lifecycle(root, "--days", "29")
    assert LIVEPATCH not in sooner.stdout
    assert "old-1.0-*" in sooner.stdout


def test_nothing_ends(root: Path) -> None:
    done = lifecycle(root, "--date", "2001-01-01")
    assert (done.returncode, done.stderr) == (1, LIMITS)
    assert done.stdout == (
        "\nNo products whose support ends before 2001-01-01.\n"
        "\nNo packages whose support ends before 2001-01-01.\n"
    )


def test_named_packages(root: Path) -> None:
    done = lifecycle(root, LIVEPATCH, "plain", "replaced")
    assert (done.returncode, done.stderr) == (0, LIMITS)
    assert done.stdout == (
        f"\nPackage end of support:\n{LIVEPATCH}  {SOON}\n"
        "plain                                    -\n"
        "replaced                                 -\n"
    )


def test_a_named_package_that_is_not_installed(root: Path) -> None:
    done = lifecycle(root, "plain", "absent", "\x1b[2J")
    assert done.returncode == 1
    assert done.stdout.endswith("-\nabsent is not installed\n\\x1b[2J is not installed\n")


def test_the_place_of_a_date(root: Path) -> None:
    done = lifecycle(root, "-v", "old")
    place = root / "usr/share/lifecycle/data/SLES.lifecycle:3"
    assert (
        done.stdout
        == f"\nPackage end of support:\nold-1.0-*                                Now\n    {place}\n"
    )


def test_json(root: Path) -> None:
    answer = json.loads(lifecycle(root, "--json").stdout)
    assert (answer["schema"], answer["version"]) == ("zypp-livepatch/lifecycle", 1)
    assert (answer["today"], answer["until"], answer["problems"]) == (str(TODAY), None, [])
    assert [product["name"] for product in answer["products"]] == ["SLES", "sle-module-live-patching"]
    assert [(package["name"], package["end"]) for package in answer["packages"]] == [
        ("old", "2017-01-22"),
        (LIVEPATCH, str(SOON)),
    ]
    named = json.loads(lifecycle(root, "--json", "replaced", "absent").stdout)
    assert [package["successor"] for package in named["packages"]] == ["plain"]
    assert named["not_installed"] == ["absent"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--days", "x"), "must be a number of days"),
        (("--days", "999999999"), "too far away"),
        (("--date", "tomorrow"), "is no date"),
        (("--days", "1", "plain"), "do not go together"),
        (("--save", "file"), "not there yet"),
        (("--diff", "file"), "not there yet"),
        (("--nonsense",), "no option --nonsense"),
    ],
)
def test_wrong_options_exit_with_2(root: Path, arguments: tuple[str, ...], words: str) -> None:
    done = lifecycle(root, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_wrong_line_is_named_and_the_rest_is_shown(root: Path) -> None:
    data = root / "var/lib/lifecycle/data"
    data.mkdir(parents=True)
    try:
        (data / "SLES.lifecycle").write_text("old;1;2030-01-01\n")
        done = lifecycle(root)
    finally:
        (data / "SLES.lifecycle").unlink()
        data.rmdir()
    assert done.returncode == 2
    assert LIVEPATCH in done.stdout
    assert f"{data}/SLES.lifecycle:1: a line has three or four fields" in done.stderr


def test_without_a_database_it_ends_with_2(tmp_path: Path) -> None:
    done = lifecycle(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no rpm database" in done.stderr
