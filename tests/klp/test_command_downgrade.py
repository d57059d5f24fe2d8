# SPDX-License-Identifier: GPL-2.0-or-later
"""klp downgrade --dry-run on saved trees: what would be done, and what is refused.

What is really done is in tests/system: test_zypper_downgrade_kernel.py (real zypper), test_klp_downgrade.py (kernel).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support import zypp_root
from tests.support.kernel_tree import write_loaded, write_module, write_patch, write_task
from tests.support.klp import NAME, RELEASE, klp, klp_as_nobody
from tests.support.rpms import Spec
from tests.support.transactional import make_transactional
from tests.support.zypp_root import ZyppRoot

RUNNING = "livepatch_3_150600_2_1"


def spec(version: int, root: Path | None = None) -> Spec:
    files = {}
    if root is not None:
        path = write_module(root, RELEASE, f"livepatch-{version}-150600_2_1.ko")
        files[path] = root / path[1:]
    return Spec(name=NAME, version=str(version), release="150600.2.1", files=files)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> ZyppRoot:
    """Version 3 is installed and runs, a repository has 1 to 3."""
    made = zypp_root.make(tmp_path_factory.mktemp("saved"))
    made.install(spec(3, made.root))
    made.add_repository("updates", *map(spec, (1, 2, 3)), settings="name=Updates")
    write_patch(made.root, RUNNING)
    made.write("dev/kmsg", "")
    made.write("proc/sys/kernel/tainted", "32768\n")  # K: a live patch has been loaded
    return made


@pytest.fixture
def system(saved: ZyppRoot, tmp_path: Path) -> ZyppRoot:
    """A copy of it."""
    shutil.copytree(saved.root, tmp_path / "root", symlinks=True)
    return ZyppRoot(tmp_path / "root", tmp_path)


def test_what_would_be_done(system: ZyppRoot) -> None:
    done = klp("downgrade", "--dry-run", root=system.root)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[:5] == [
        f"The kernel runs {RUNNING}, version 3-150600.2.1 of its live patch",
        "",
        f"Package   {NAME}",
        "Now       3-150600.2.1",
        "Then      2-150600.2.1, from Updates",
    ]
    assert lines[-3:] == [
        f"  zypper --non-interactive install --oldpackage {NAME}=2-150600.2.1",
        "",
        "It can be done; nothing was changed.",
    ]


def test_on_a_transactional_system(system: ZyppRoot) -> None:
    make_transactional(system.root)
    done = klp("downgrade", "--dry-run", root=system.root)
    command = "transactional-update --non-interactive --continue pkg install --oldpackage"
    assert f"\n  {command} {NAME}=2-150600.2.1\n" in done.stdout
    assert "This changes a snapshot: it counts from the next boot on." in done.stdout
    system.write("etc/sysconfig/livepatching", "LIVEPATCH_KERNEL=always\n")
    document = json.loads(klp("downgrade", "--dry-run", "--json", root=system.root).stdout)
    assert document["transactional"] is True
    assert document["notes"] == [
        "LIVEPATCH_KERNEL=always in /etc/sysconfig/livepatching: the older live patch is loaded at once"
    ]


def test_a_module_that_is_still_loaded_has_to_go_first(system: ZyppRoot) -> None:
    """The kernel enables a live patch when it is loaded, and one that was replaced stays loaded."""
    write_loaded(system.root, RUNNING, "livepatch_2_150600_2_1 0", "livepatch_1_150600_2_1 1")
    lines = klp("downgrade", "--dry-run", root=system.root).stdout.splitlines()
    assert lines[-4:-2] == [
        "  rmmod livepatch_2_150600_2_1",
        f"  zypper --non-interactive install --oldpackage {NAME}=2-150600.2.1",
    ]
    done = klp("downgrade", "--dry-run", "--to", "1", root=system.root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "klp: livepatch_1_150600_2_1 cannot be loaded again before the next boot: "
    )


def test_an_ordinary_user_may_look(system: ZyppRoot) -> None:
    above = Path(tempfile.gettempdir())
    for place in (system.root, *system.root.parents):
        if above in place.parents:
            place.chmod(0o755)
    done = klp_as_nobody("downgrade", "--dry-run", root=system.root)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_blocks_the_transition_is_named(system: ZyppRoot) -> None:
    (system.root / f"sys/kernel/livepatch/{RUNNING}/transition").write_text("1\n")
    write_task(system.root, 77, state=0, name="sleeper")
    done = klp("downgrade", "--dry-run", root=system.root)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == (
        f"klp: {RUNNING} is in transition: it waits for sleeper (77)\n"
        "hint: 'klp wait' waits for its end, 'klp blocking -vv' says what helps\n"
    )


def test_a_log_that_cannot_be_read_is_told(system: ZyppRoot) -> None:
    (system.root / "dev/kmsg").unlink()
    done = klp("downgrade", "--dry-run", root=system.root)
    assert (done.returncode, done.stderr) == (
        0,
        f"klp: {system.root}/dev/kmsg cannot be read: No such file or directory\n",
    )
    assert "no transition, taint flags, repositories" in done.stdout


def test_no_older_one(system: ZyppRoot) -> None:
    system.add_repository("updates", spec(3))
    done = klp("downgrade", "--dry-run", root=system.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"klp: no repository has a version of {NAME} below 3-150600.2.1\n")


def test_the_kernel_has_no_live_patching(tmp_path: Path) -> None:
    done = klp("downgrade", "--dry-run", root=tmp_path)
    assert (done.returncode, done.stderr) == (2, "klp: the kernel has no live patching\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "klp: --root is for a look only: add --dry-run"),
        (("--dry-run", "--to", "2 3"), "klp: '2 3' is no version; write VERSION or VERSION-RELEASE"),
        (("--dry-run", "word"), "klp: 'word' is one word too many"),
    ],
)
def test_words_that_make_no_sense(system: ZyppRoot, words: tuple[str, ...], sentence: str) -> None:
    done = klp("downgrade", *words, root=system.root)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (64, "", sentence)


def test_nobody_can_be_asked_through_json() -> None:
    done = klp("downgrade", "--json")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("klp: with --json nobody can be asked: add -n or --dry-run\n")
