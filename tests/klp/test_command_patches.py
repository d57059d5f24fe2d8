# SPDX-License-Identifier: GPL-2.0-or-later
"""klp patches as its users run it, down to the byte where scripts parse it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from klp.package import INFO
from tests.support import rpms
from tests.support.installed_root import install
from tests.support.kernel_tree import write_loaded, write_module, write_patch
from tests.support.klp import CHANGELOG, NAME, RELEASE, klp, klp_as_nobody

MODULE = "livepatch_2_150600_2_1"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A system with one live patch in effect, from an RPM."""
    return install_patch(tmp_path, CHANGELOG)


def install_patch(work: Path, changelog: str) -> Path:
    root = work / "root"
    path = write_module(root, RELEASE, "livepatch-2-150600_2_1.ko")
    files = {path: root / path[1:]}
    spec = rpms.Spec(name=NAME, version="2", release="150600.2.1", files=files, changelog=changelog)
    install(root, [spec], work=work)
    write_patch(root, MODULE)
    return root


def write_lifecycle(root: Path, text: str) -> None:
    """Install a product with lifecycle data."""
    (root / "etc/products.d").mkdir(parents=True)
    (root / "etc/products.d/SLES.prod").write_text("<product><name>SLES</name></product>")
    (root / "usr/share/lifecycle/data").mkdir(parents=True)
    (root / "usr/share/lifecycle/data/SLES.lifecycle").write_text(text)


def test_patches_are_listed_by_name(livepatched: Path) -> None:
    done = klp("patches", root=livepatched)
    assert done.stdout == "livepatch_1_150600_2_1\nlivepatch_2_150600_2_1\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    write_patch(tmp_path, "evil\x1b[2J\nname")
    assert klp("patches", root=tmp_path).stdout == "evil\\x1b[2J\\x0aname\n"


def test_details_of_patches_are_as_scripts_parse_them(livepatched: Path) -> None:
    done = klp("-v", "patches", root=livepatched)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "livepatch_1_150600_2_1\n"
        "    active: 0\n"
        "\n"
        "livepatch_2_150600_2_1\n"
        "    active: 1\n"
        f"    RPM: {NAME}-2-150600.2.1.noarch\n"
        "    CVE: CVE-2024-53042 CVE-2024-50115\n"
        "    bug fixes and enhancements: bsc#1229275\n"
    )
    # how consumers read it: names are not indented, the rest is FIELD: VALUE
    for line in filter(None, done.stdout.splitlines()):
        assert re.fullmatch(r"\S+|\s+([^:]+):\s*(.*)", line)


def test_the_initial_live_patch_says_so(tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = write_module(root, RELEASE, "livepatch-1-150600_2_1.ko")
    install(root, [rpms.Spec(name=NAME, files={path: root / path[1:]})], work=tmp_path)
    write_patch(root, "livepatch_1_150600_2_1")
    assert klp("-v", "patches", root=root).stdout.splitlines()[3:] == [
        "    CVE: (none - this is an initial kernel live patch)",
        "    bug fixes and enhancements: (none)",
    ]


def test_patches_as_json(livepatched: Path) -> None:
    done = klp("patches", "--json", root=livepatched)
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["version"]) == ("zypp-livepatch/klp-patches", 1)
    first, second = answer["patches"]
    assert (first["enabled"], first["package"], first["cves"]) == (False, None, None)
    assert second == {
        "name": "livepatch_2_150600_2_1",
        "enabled": True,
        "transition": False,
        "replace": None,
        "stack_order": None,
        "objects": [
            {"name": "vmlinux", "patched": True, "functions": [{"name": "meminfo_proc_show", "position": 1}]}
        ],
        "package": f"{NAME}-2-150600.2.1.noarch",
        "cves": ["CVE-2024-53042", "CVE-2024-50115"],
        "other_fixes": ["bsc#1229275"],
        "expires": None,
        "update": None,
    }
    assert answer["unused_modules"] == []


def test_a_module_without_package_is_told(installed: Path) -> None:
    write_patch(installed, "zz_hand_made")
    done = klp("-v", "patches", root=installed)
    assert done.returncode == 0
    assert done.stdout.endswith("\n\nzz_hand_made\n    active: 1\n")
    assert done.stderr == "klp: no package owns the module zz_hand_made\n"


def test_the_end_of_maintenance_is_a_further_detail(installed: Path) -> None:
    def expiry() -> list[str]:
        done = klp("-vv", "patches", root=installed)
        assert done.returncode == 0
        return [line for line in done.stdout.splitlines() if line.startswith("    expires: ")]

    assert expiry() == ["    expires: (unknown)"]
    write_lifecycle(installed, f"{NAME},*,2999-01-31\n")
    assert expiry() == ["    expires: 2999-01-31"]
    assert (
        json.loads(klp("patches", "--json", root=installed).stdout)["patches"][0]["expires"] == "2999-01-31"
    )
    (installed / "usr/share/lifecycle/data/SLES.lifecycle").write_text(f"{NAME},*,2020-01-31\n")
    assert expiry() == ["    expires: 2020-01-31 (no longer maintained)"]


def test_wrong_lifecycle_data_hide_nothing_else(installed: Path) -> None:
    write_lifecycle(installed, "too,few\n")
    done = klp("-vv", "patches", root=installed)
    assert (done.returncode, "SLES.lifecycle:1" in done.stderr) == (0, True)
    assert f"    RPM: {NAME}-2-150600.2.1.noarch\n" in done.stdout
    (installed / "etc/products.d/SLES.prod").write_text("no XML")
    done = klp("-vv", "patches", root=installed)
    assert "it is not known until when it is maintained: " in done.stderr
    assert f"    RPM: {NAME}-2-150600.2.1.noarch\n" in done.stdout


def test_modules_that_are_left_over_are_a_further_detail(installed: Path) -> None:
    write_loaded(installed, MODULE, "livepatch_1 0", "livepatch_0")
    assert "livepatch_1" not in klp("-v", "patches", root=installed).stdout
    assert klp("-vv", "patches", root=installed).stdout.endswith(
        "\n\nlivepatch_0\n    active: 0\n    module: pinned until the next boot, its transition was forced\n"
        "\nlivepatch_1\n    active: 0\n    module: loaded, but not in use\n"
    )
    assert json.loads(klp("patches", "--json", root=installed).stdout)["unused_modules"] == [
        {"name": "livepatch_0", "pinned": True},
        {"name": "livepatch_1", "pinned": False},
    ]


def test_what_an_rpm_ships_needs_no_database(tmp_path: Path) -> None:
    write_patch(tmp_path, MODULE)
    (tmp_path / "sys/module" / MODULE).mkdir(parents=True)
    (tmp_path / "sys/module" / MODULE / "srcversion").write_text("0123ABC\n")
    text = f"RPM: {NAME}-3-1.x86_64\nCVE: CVE-2025-0001\nbug fixes and enhancements: \x1b[2J\n"
    (tmp_path / INFO).mkdir(parents=True)
    (tmp_path / INFO / f"{MODULE}-0123ABC").write_text(text)
    done = klp("-v", "patches", root=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{MODULE}\n    active: 1\n    RPM: {NAME}-3-1.x86_64\n    CVE: CVE-2025-0001\n"
        "    bug fixes and enhancements: \\x1b[2J\n"
    )


def test_a_changelog_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    entry = "* Tue May 13 2025 a@example.com\n- Fix\n  KLP: CVE-2024-53042 \x1b]0;owned\x07 \u202e\n"
    done = klp("-v", "patches", root=install_patch(tmp_path, entry))
    assert done.stdout.splitlines()[3:] == [
        "    CVE: CVE-2024-53042",
        "    bug fixes and enhancements: \\x1b]0;owned\\x07 \\u202e",
    ]


def test_a_changelog_of_a_hundred_thousand_lines(tmp_path: Path) -> None:
    entries = (
        f"* Tue May 13 2025 a@example.com\n- Fix\n  KLP: CVE-2024-{100_000 - number}\n"
        for number in range(0, 33_400)
    )
    done = klp("-v", "patches", root=install_patch(tmp_path, "\n".join(entries)))
    cves = done.stdout.splitlines()[3].split()
    assert (len(cves), cves[:2]) == (33_401, ["CVE:", "CVE-2024-100000"])


def test_files_that_cannot_be_read_are_named_and_the_rest_is_listed(open_root: Path) -> None:
    """As an ordinary user sees them who may not read all: the name of a file for each sentence."""
    broken = write_patch(open_root, "broken")
    (broken / "enabled").chmod(0)
    (broken / "transition").write_text("perhaps\n")
    (broken / "vmlinux").chmod(0)
    write_patch(open_root, "good")
    done = klp_as_nobody("patches", root=open_root)
    assert (done.returncode, done.stdout) == (0, "broken\ngood\n")
    assert [line.split()[1].removeprefix(str(broken)) for line in done.stderr.splitlines()] == [
        "/vmlinux",
        "/vmlinux/patched",
        "/enabled",
        "/transition",
    ]


def test_without_a_database_the_rest_is_shown(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1")
    write_module(tmp_path, RELEASE, "livepatch-1.ko")
    done = klp("-v", "patches", root=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "livepatch_1\n    active: 1\n"
    assert "there is no rpm database" in done.stderr


def test_a_kernel_without_live_patching_has_no_patches(tmp_path: Path) -> None:
    done = klp("patches", root=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "has no live patching" in done.stderr
