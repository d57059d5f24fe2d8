# SPDX-License-Identifier: GPL-2.0-or-later
"""klp cve, on systems with real RPMs."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.documentation import contradictions
from tests.support.installed_root import database_directory, install
from tests.support.kernel_tree import write_module, write_patch
from tests.support.klp import CHANGELOG, NAME, RELEASE, klp

KERNEL = "kernel-default"
KERNEL_CHANGELOG = """\
* Mon Apr 07 2025 somebody@example.com
- net: fix it (CVE-2024-11111 bsc#1230001).
- net: about CVE-2024-222222 and jsc#PED-1-2
"""
NEWER = CHANGELOG + "\n* Thu May 01 2025 a@example.com\n- Fix\n  KLP: CVE-2025-30000\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel with an installed live patch 2, and its successor that is installed and not in use."""
    work = tmp_path_factory.mktemp("system")
    root = work / "root"
    specs = []
    for version, changelog in (("2", CHANGELOG), ("3", NEWER)):
        path = write_module(root, RELEASE, f"livepatch-{version}-150600_2_1.ko")
        files = {path: root / path[1:]}
        specs.append(
            rpms.Spec(name=NAME, version=version, release="150600.2.1", files=files, changelog=changelog)
        )
    (root / "lib/modules" / RELEASE / "modules.builtin").write_text("")
    path = f"/lib/modules/{RELEASE}/modules.builtin"
    specs.append(rpms.Spec(name=KERNEL, files={path: root / path[1:]}, changelog=KERNEL_CHANGELOG))
    install(root, specs, work=work)
    write_patch(root, "livepatch_2_150600_2_1")
    return root


@pytest.fixture
def changing(system: Path, tmp_path: Path) -> Path:
    """The same system, to be changed."""
    return Path(shutil.copytree(system, tmp_path / "root"))


@pytest.mark.parametrize(
    ("number", "status", "sentence"),
    [
        ("CVE-2024-53042", 0, "fixed by the live patch livepatch_2_150600_2_1"),
        ("cve-2024-53042", 0, "fixed by the live patch livepatch_2_150600_2_1"),
        ("bsc#1229275", 0, "fixed by the live patch livepatch_2_150600_2_1"),
        ("BSC#1230001", 0, f"fixed in the kernel itself, says the changelog of {KERNEL}-1-1.noarch"),
        ("CVE-2024-11111", 0, f"fixed in the kernel itself, says the changelog of {KERNEL}-1-1.noarch"),
        (
            "CVE-2025-30000",
            1,
            f"not yet: {NAME}-3-150600.2.1.noarch fixes it, but its live patch is not in use "
            "('klp patches -v')",
        ),
        (
            "CVE-2024-22222",
            2,
            "unknown: neither the installed live patches nor the kernel's changelog name it",
        ),
        ("jsc#PED-1", 2, "unknown: neither the installed live patches nor the kernel's changelog name it"),
    ],
)
def test_one_number(system: Path, number: str, status: int, sentence: str) -> None:
    done = klp("cve", number, root=system)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.partition(": ")[0].lower() == number.lower()
    assert done.stdout.partition(": ")[2] == f"{sentence}\n"


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        (("CVE-2024-53042", "CVE-2024-50115", "CVE-2024-53042"), 0),
        (("CVE-2024-53042", "CVE-2025-30000"), 3),
        (("CVE-2024-53042", "CVE-2000-0001"), 3),
        (("CVE-2000-0001", "CVE-2025-30000"), 1),
        (("CVE-2000-0001", "CVE-2000-0002"), 2),
    ],
)
def test_several_numbers(system: Path, numbers: tuple[str, ...], status: int) -> None:
    done = klp("cve", *numbers, root=system)
    assert done.returncode == status
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == list(dict.fromkeys(numbers))


@pytest.mark.parametrize(
    ("enabled", "says"),
    [("1", "not yet: livepatch_2_150600_2_1 fixes it and is in transition"), ("0", "no more: ")],
)
def test_a_transition_is_not_yet_a_fix(changing: Path, enabled: str, says: str) -> None:
    (changing / "lib/modules" / RELEASE / "livepatch/livepatch-3-150600_2_1.ko").unlink()
    patch = changing / "sys/kernel/livepatch/livepatch_2_150600_2_1"
    (patch / "transition").write_text("1\n")
    (patch / "enabled").write_text(enabled)
    done = klp("cve", "CVE-2024-53042", root=changing)
    assert (done.returncode, says in done.stdout) == (1, True)


def test_the_package_is_a_detail(system: Path) -> None:
    assert klp("cve", "-v", "CVE-2024-53042", root=system).stdout == (
        f"CVE-2024-53042: fixed by the live patch livepatch_2_150600_2_1 ({NAME}-2-150600.2.1.noarch)\n"
    )


@pytest.mark.parametrize(
    "number", ["", "2024-53042", "CVE-2024-1", "CVE-2024-53042 ", "bsc#", "\x1b[2J", "*"]
)
def test_what_is_no_number_is_a_usage_error(system: Path, number: str) -> None:
    done = klp("cve", "CVE-2024-53042", number, root=system)
    assert (done.returncode, done.stdout) == (64, "")
    assert "is no number such as CVE-2025-1234" in done.stderr


def test_a_number_is_needed(system: Path) -> None:
    assert klp("cve", root=system).returncode == 64


def test_without_a_database_nothing_is_proven(changing: Path) -> None:
    shutil.rmtree(database_directory(changing))
    done = klp("cve", "CVE-2024-53042", root=changing)
    assert (done.returncode, done.stdout.partition(": ")[2]) == (
        69,
        "unknown: not everything could be read\n",
    )
    assert "there is no rpm database" in done.stderr


def test_a_damaged_database_proves_nothing(changing: Path) -> None:
    with sqlite3.connect(database_directory(changing) / "rpmdb.sqlite") as database:
        database.execute("UPDATE Packages SET blob = substr(blob, 1, 20)")
    database.close()
    done = klp("cve", "CVE-2024-53042", root=changing)
    assert (done.returncode, done.stdout.partition(": ")[2]) == (
        69,
        "unknown: not everything could be read\n",
    )
    assert done.stderr.startswith("klp: the rpm database is damaged: ")


def test_a_kernel_that_is_not_told(changing: Path) -> None:
    (changing / "proc/sys/kernel/osrelease").unlink()
    done = klp("cve", "CVE-2024-53042", root=changing)
    assert done.returncode == 69
    assert "does not tell which kernel runs" in done.stderr


def test_as_json(system: Path) -> None:
    done = klp("cve", "--json", "CVE-2024-53042", "CVE-2000-0001", root=system)
    answer = json.loads(done.stdout)
    assert (done.returncode, contradictions(answer)) == (3, [])
    assert answer["answers"] == [
        {
            "number": "CVE-2024-53042",
            "fixed": True,
            "reason": "live-patch",
            "patch": "livepatch_2_150600_2_1",
            "package": f"{NAME}-2-150600.2.1.noarch",
        },
        {"number": "CVE-2000-0001", "fixed": False, "reason": "unknown", "patch": None, "package": None},
    ]


def test_a_live_patch_that_cannot_be_read_is_no_answer(changing: Path) -> None:
    (changing / "sys/kernel/livepatch/livepatch_2_150600_2_1/transition").write_text("nonsense\n")
    done = klp("cve", "CVE-2024-50115", root=changing)
    assert (done.returncode, done.stdout) == (69, "CVE-2024-50115: unknown: not everything could be read\n")
    assert "transition should hold a number" in done.stderr
