# SPDX-License-Identifier: GPL-2.0-or-later
"""The program klp as its users run it, down to the byte where scripts parse it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.klp.test_package import CHANGELOG, NAME, RELEASE
from tests.support import rpms
from tests.support.installed_root import install
from tests.support.kernel_tree import write_module, write_patch, write_task

KLP = Path(sys.executable).with_name("klp")


def klp(*arguments: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(KLP), *arguments, *(["--root", str(root)] if root else [])]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def livepatched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with an initial live patch that was replaced, and the second in effect, both from RPMs."""
    work = tmp_path_factory.mktemp("livepatched")
    root = work / "root"
    specs = []
    for version, changelog in (("1", ""), ("2", CHANGELOG)):
        path = write_module(root, RELEASE, f"livepatch-{version}-150600_2_1.ko")
        files = {path: root / path[1:]}
        specs.append(
            rpms.Spec(name=NAME, version=version, release="150600.2.1", files=files, changelog=changelog)
        )
        write_patch(root, f"livepatch_{version}_150600_2_1", enabled=int(version == "2"))
    install(root, specs, work=work)
    return root


@pytest.mark.parametrize("arguments", [("status",), ("-v", "status"), ("status", "-vv")])
def test_status(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    patch = write_patch(tmp_path, "livepatch_1")
    done = klp(*arguments, root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    (patch / "transition").write_text("1\n")
    done = klp(*arguments, root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in_progress\n", "")


def test_check(tmp_path: Path) -> None:
    patch = write_patch(tmp_path, "livepatch_1")
    done = klp("check", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (patch / "transition").write_text("1\n")
    done = klp("check", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("command", ["status", "check"])
def test_what_cannot_be_told_is_not_called_ready(tmp_path: Path, command: str) -> None:
    write_patch(tmp_path, "livepatch_1", transition="\x1b[2J")
    done = klp(command, root=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert "livepatch_1/transition should hold a number" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("transition", "status", "check"),
    [("0", (0, "ready\n"), 0), ("1", (0, "in_progress\n"), 1), ("?", (65, ""), 65)],
)
def test_the_short_way_in_a_namespace_with_live_patches(
    tmp_path: Path, transition: str, status: tuple[int, str], check: int
) -> None:
    write_patch(tmp_path, "livepatch_1", transition=transition)

    def in_namespace(command: str) -> tuple[int, str]:
        script = 'mount --bind "$1" /sys && exec "$2" "$3"'
        unshare = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
        words = [*unshare, "sh", "-c", script, "sh", str(tmp_path / "sys"), str(KLP), command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout

    assert in_namespace("status") == status
    assert in_namespace("check") == (check, "")


@pytest.mark.parametrize("command", ["status", "check"])
def test_the_short_way_answers_as_the_long_way_does(command: str) -> None:
    short, long = klp(command), klp(command, root=Path("/"))
    assert (short.returncode, short.stdout, short.stderr) == (long.returncode, long.stdout, long.stderr)


@pytest.mark.parametrize("command", ["status", "check"])
def test_the_short_way_imports_nothing_slow(command: str) -> None:
    script = f"import sys; sys.argv[1:] = ['{command}']; import klp.cli; klp.cli.main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    slow = {"argparse", "enum", "dataclasses", "pathlib", "typing", "json", "re", "subprocess", "rpm"}
    assert slow & set(done.stdout.splitlines()[-1].split()) == set()


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([KLP, "status"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 73
    assert "standard output cannot be written" in done.stderr


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
    }


def test_a_module_without_package_is_told(livepatched: Path) -> None:
    patch = write_patch(livepatched, "zz_hand_made")
    try:
        done = klp("-v", "patches", root=livepatched)
    finally:
        for path in sorted(patch.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        patch.rmdir()
    assert done.returncode == 0
    assert done.stdout.endswith("\n\nzz_hand_made\n    active: 1\n")
    assert done.stderr == "klp: no package owns the module zz_hand_made\n"


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


@pytest.mark.parametrize(("flags", "output"), [((), ""), (("-v",), "no threads with klp_in_progress set\n")])
def test_nothing_blocks_when_ready(tmp_path: Path, flags: tuple[str, ...], output: str) -> None:
    write_patch(tmp_path, "livepatch_1")
    done = klp(*flags, "blocking", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    write_patch(tmp_path, "livepatch_1", transition=1)
    write_task(tmp_path, 9, state=1)
    write_task(tmp_path, 10, state=0, command=b"evil\0\x1b]0;owned\x07\0x", stack="[<0>] do_vfork+0x1/0x2\n")
    write_task(tmp_path, 20, 21, state=0, name="kworker/0:1")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "output"),
    [
        ((), "10 10\n20 21\n"),
        (("-v",), "10 10 evil \\x1b]0;owned\\x07 x\n20 21 [kworker/0:1]\n"),
        (
            ("-vv",),
            "10 10 evil \\x1b]0;owned\\x07 x\n    [<0>] do_vfork+0x1/0x2\n20 21 [kworker/0:1]\n",
        ),
    ],
)
def test_who_blocks_is_listed(blocked: Path, flags: tuple[str, ...], output: str) -> None:
    done = klp(*flags, "blocking", root=blocked)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_who_blocks_as_json(blocked: Path) -> None:
    answer = json.loads(klp("blocking", "--json", "-vv", root=blocked).stdout)
    assert answer == {
        "schema": "zypp-livepatch/klp-blocking",
        "version": 1,
        "patch": "livepatch_1",
        "unpatching": False,
        "threads": [
            {
                "pid": 10,
                "tid": 10,
                "name": "sleep",
                "command": ["evil", "\x1b]0;owned\x07", "x"],
                "stack": ["[<0>] do_vfork+0x1/0x2"],
            },
            {"pid": 20, "tid": 21, "name": "kworker/0:1", "command": [], "stack": []},
        ],
        "hidden": 0,
        "silent": [],
        "problems": [],
    }


@pytest.mark.parametrize("command", ["status", "check", "patches", "blocking"])
def test_a_root_that_is_not_there_is_refused(tmp_path: Path, command: str) -> None:
    done = klp(command, root=tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (66, "")
    assert "is not a directory" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("downgrade",), ("status", "extra"), ("status", "--no-such")])
def test_other_words_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    done = klp(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert "Traceback" not in done.stderr
