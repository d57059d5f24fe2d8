# SPDX-License-Identifier: GPL-2.0-or-later
"""klp doctor on systems in which one thing is wrong at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from klp.doctor.subscription import subscription
from lifecycle.ends import NEVER
from lifecycle.products import Product
from tests.support import rpms
from tests.support.initrds import archive
from tests.support.installed_root import database_directory
from tests.support.kernel_tree import write_loaded, write_module, write_patch
from tests.support.klp import NAME, RELEASE, klp, klp_as_nobody
from tests.support.zypp_root import ZyppRoot, make

FILE = "livepatch-2-150600_2_1"
MODULE = "livepatch_2_150600_2_1"
INITRD = f"boot/initrd-{RELEASE}"
MODULES = f"lib/modules/{RELEASE}"
DATA = "usr/share/lifecycle/data/sle-module-live-patching.lifecycle"


def package(version: str, **more: Any) -> rpms.Spec:
    return rpms.Spec(name=NAME, version=version, release="150600.2.1", **more)


def initrd(*modules: str) -> bytes:
    return archive({"init": b"#!/bin/sh", **{f"{MODULES}/livepatch/{name}.ko.zst": b"" for name in modules}})


def product(root: ZyppRoot, name: str, version: str = "15.6") -> None:
    text = f"<product><name>{name}</name><version>{version}</version><summary>{name} {version}</summary></product>"
    root.write(f"etc/products.d/{name}.prod", text)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SLES 15 SP6 with which nothing is wrong."""
    made = make(tmp_path_factory.mktemp("sound"))
    path = write_module(made.root, RELEASE, f"{FILE}.ko")
    made.install(
        package("2", files={path: made.root / path[1:]}),
        rpms.Spec(name="kernel-default", version="6.4.0", release="150600.9.1"),
        rpms.Spec(
            name="patterns-lp-lp_sles", version="15.1", release="1", tags=["Provides: pattern() = lp_sles"]
        ),
    )
    made.add_repository("updates", package("2"))
    made.write(f"{MODULES}/modules.builtin", "")
    made.write(
        "etc/zypp/locks",
        "type: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel-default\n",
    )
    made.write(DATA, f"{NAME},*,2999-01-31\n")
    made.write(INITRD, "").write_bytes(initrd(FILE))
    product(made, "SLES")
    product(made, "sle-module-live-patching")
    (made.root / "etc/products.d/baseproduct").symlink_to("SLES.prod")
    write_patch(made.root, MODULE)
    write_loaded(made.root, MODULE)
    return made.root


@pytest.fixture
def system(sound: Path, tmp_path: Path) -> ZyppRoot:
    """A copy of it, to break something in."""
    shutil.copytree(sound, tmp_path / "root", symlinks=True)
    return ZyppRoot(tmp_path / "root", tmp_path / "work")


def findings(root: Path, *, status: int) -> list[dict[str, Any]]:
    done = klp("doctor", "--json", root=root)
    assert (done.returncode, done.stderr) == (status, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def wrong(system: ZyppRoot, *, mood: str = "problem") -> dict[str, Any]:
    """Return the one finding that is not in order."""
    status = {"problem": 1, "unknown": 69}.get(mood, 0)
    [found] = [each for each in findings(system.root, status=status) if each["mood"] != "ok"]
    assert found["mood"] == mood
    return found


def test_a_sound_system(sound: Path) -> None:
    done = klp("doctor", root=sound)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["", "nothing is to be done"]
    assert all(line.startswith("ok       ") for line in lines[:-2])
    topics = [each["topic"] for each in findings(sound, status=0)]
    assert topics == [
        "kernel", "live-patch", "package", "lifecycle", "initrd", "reboot", "subscription", "lock",
    ]  # fmt: skip


@pytest.mark.parametrize("held", [(), ("livepatch-1-150600_2_1",)])
def test_the_initrd_lacks_the_live_patch(system: ZyppRoot, held: tuple[str, ...]) -> None:
    system.write(INITRD, "").write_bytes(initrd(*held))
    found = wrong(system)
    assert found["sentence"] == (
        f"{system.root / INITRD} has not {FILE}{f' but {held[0]}' if held else ''}: "
        "after a crash these fixes are missing"
    )
    assert found["steps"] == [f"dracut --force --kver {RELEASE}"]


def test_an_initrd_that_cannot_be_read_is_no_proof(system: ZyppRoot) -> None:
    system.write(INITRD, "no archive")
    assert wrong(system, mood="unknown")["topic"] == "initrd"
    (system.root / INITRD).unlink()
    assert wrong(system, mood="unknown")["sentence"] == f"no initrd of the kernel {RELEASE} is in sight"


def test_an_installed_live_patch_does_not_run(system: ZyppRoot) -> None:
    path = write_module(system.root, RELEASE, "livepatch-3-150600_2_1.ko")
    system.install(package("3", files={path: system.root / path[1:]}))
    found = wrong(system)
    assert found["sentence"].endswith(f"its live patch livepatch_3_150600_2_1 is not loaded: {MODULE} runs")
    assert found["steps"] == ["modprobe livepatch-3-150600_2_1", "klp wait"]


def test_a_module_is_loaded_for_nothing(system: ZyppRoot) -> None:
    write_loaded(system.root, MODULE, "livepatch_1_150600_2_1 0", "livepatch_0 1")
    first, second = (each for each in findings(system.root, status=0) if each["mood"] == "note")
    assert first["sentence"].startswith("livepatch_0 was forced out of use")
    assert second["steps"] == ["rmmod livepatch_1_150600_2_1"]
    shutil.rmtree(system.root / "sys/kernel/livepatch" / MODULE)
    write_loaded(system.root, f"{MODULE} 0")
    found = wrong(system)
    assert found["sentence"] == f"{MODULE} is loaded but not in use: its fixes are missing"
    assert found["steps"] == [f"rmmod {MODULE}", f"modprobe {FILE}"]


def test_a_live_patch_of_nobody(system: ZyppRoot) -> None:
    write_patch(system.root, "zz_by_hand")
    assert wrong(system, mood="note")["sentence"].startswith(
        "no installed package owns the module of zz_by_hand"
    )


def test_a_kernel_that_has_warned(system: ZyppRoot) -> None:
    system.write("proc/sys/kernel/tainted", "512\n")
    assert "it has warned" in wrong(system, mood="note")["sentence"]


def test_a_transition_and_a_live_patch_that_is_disabled(system: ZyppRoot) -> None:
    place = system.root / "sys/kernel/livepatch" / MODULE
    (place / "transition").write_text("1\n")
    assert wrong(system)["steps"] == ["klp blocking -vv"]
    (place / "transition").write_text("0\n")
    (place / "enabled").write_text("0\n")
    assert wrong(system)["sentence"] == f"{MODULE} is loaded but disabled: its fixes are missing"
    (place / "enabled").write_text("nonsense\n")
    moods = [each["mood"] for each in findings(system.root, status=69)]
    assert moods.count("unknown") == 2


def test_an_update_and_the_end_of_maintenance(system: ZyppRoot) -> None:
    system.add_repository("updates", package("4"))
    found = wrong(system)
    assert found["sentence"] == f"updates has a newer live patch: {NAME} 4-150600.2.1"
    assert found["steps"] == [f"zypper update {NAME}"]
    done = klp("patches", "-vv", root=system.root)
    assert done.stdout.endswith("    expires: 2999-01-31\n    update: 4-150600.2.1 (updates)\n")
    system.add_repository("updates", package("2"))
    assert klp("patches", "-vv", root=system.root).stdout.endswith("    update: (none)\n")
    system.write(DATA, f"{NAME},*,2020-01-31\n")
    assert wrong(system)["steps"] == ["zypper install kernel-default", "reboot"]
    system.write(DATA, "")
    assert wrong(system, mood="note")["steps"] == ["zypper install lifecycle-data-sle-module-live-patching"]


def test_no_live_patch_is_installed(system: ZyppRoot) -> None:
    system.remove(NAME)
    shutil.rmtree(system.root / "sys/kernel/livepatch" / MODULE)
    write_loaded(system.root)
    assert wrong(system)["steps"] == [f"zypper install {NAME}"]
    system.add_repository("updates")
    assert wrong(system)["sentence"].startswith("no repository has live patches for the running kernel: ")


def test_whether_a_reboot_is_needed(system: ZyppRoot) -> None:
    def reboot(*, status: int) -> dict[str, Any]:
        return next(each for each in findings(system.root, status=status) if each["topic"] == "reboot")

    system.write("run/reboot-needed", "soft-reboot\n")
    asked = reboot(status=0)
    assert asked["sentence"].startswith(
        "/run/reboot-needed asks for a soft-reboot, but the running kernel is the"
    )
    assert asked["mood"] == "note"
    newer = "6.4.0-150600.23.14-default"
    system.write(f"lib/modules/{newer}/modules.builtin", "")
    system.write("lib/modules/6.4.0-150600.23.14-rt/modules.builtin", "")  # of another flavour
    found = reboot(status=0)
    assert found["sentence"] == (
        f"no reboot is needed now: {newer} is installed, but the running kernel gets its fixes from "
        "live patches, until 2999-01-31"
    )
    system.write(DATA, f"{NAME},*,2020-01-31\n")
    assert reboot(status=1)["steps"] == ["reboot"]
    shutil.rmtree(system.root / MODULES)
    assert "modules of the running kernel are gone" in reboot(status=1)["sentence"]


def test_subscription_and_locks(system: ZyppRoot) -> None:
    (system.root / "etc/zypp/locks").unlink()
    assert wrong(system, mood="note")["steps"] == ["zypper addlock kernel-default"]
    system.remove("patterns-lp-lp_sles")
    pattern = next(each for each in findings(system.root, status=0) if each["topic"] == "subscription")
    assert (pattern["mood"], pattern["steps"]) == ("note", ["zypper install -t pattern lp_sles"])
    (system.root / "etc/products.d/sle-module-live-patching.prod").unlink()
    module = next(each for each in findings(system.root, status=1) if each["topic"] == "subscription")
    assert module["steps"] == [
        "SUSEConnect -p sle-module-live-patching/15.6/x86_64",
        "zypper install -t pattern lp_sles",
    ]


@pytest.mark.parametrize(
    ("name", "version", "activate", "install"),
    [
        (
            "SLES",
            "12.5",
            "SUSEConnect -p sle-live-patching/12.5/x86_64",
            "zypper install -t pattern lp_sles",
        ),
        (
            "SLE-Micro",
            "5.5",
            "transactional-update register -p sle-module-live-patching/15.5/x86_64",
            "transactional-update pkg install -t pattern lp_sles",
        ),
        ("SL-Micro", "6.2", "", "transactional-update pkg install -t pattern kernel_livepatching"),
        ("SLES", "16.0", "", "zypper install -t pattern kernel_livepatching"),
        ("openSUSE", "20261101", "", ""),
    ],
)
def test_products(name: str, version: str, activate: str, install: str) -> None:
    base = Product(name=name, version=version, summary="", vendor="", flavor="", base=True, end=NEVER)
    way = subscription(base, installed=frozenset([name]), transactional=False)
    assert (way.activate, way.install) == (activate, install)
    assert way.is_known is bool(install)


def test_other_kernels(system: ZyppRoot, tmp_path: Path) -> None:
    system.write("proc/sys/kernel/ftrace_enabled", "0\n")
    assert wrong(system)["steps"] == ["sysctl kernel.ftrace_enabled=1"]
    (tmp_path / "empty").mkdir()
    done = klp("doctor", root=tmp_path / "empty")
    assert done.returncode == 1
    assert "has no live patching" in done.stdout
    assert "does not tell which kernel runs" in done.stdout
    assert klp("doctor", root=tmp_path / "missing").returncode == 66


def test_a_damaged_database_hides_nothing_else(system: ZyppRoot) -> None:
    shutil.rmtree(system.root / "etc/products.d")
    for path in (system.root).rglob("rpmdb.sqlite"):
        path.write_bytes(b"damaged" * 1000)
    found = findings(system.root, status=69)
    assert any("rpm database" in each["sentence"] for each in found if each["mood"] == "unknown")
    assert any(each["topic"] == "live-patch" and each["mood"] == "ok" for each in found)
    # what was not read is not claimed to be missing
    assert {each["topic"] for each in found}.isdisjoint({"package", "lock"})


def test_an_ordinary_user_is_told_what_is_hidden(open_root: Path, sound: Path) -> None:
    shutil.copytree(sound, open_root / "root", symlinks=True)
    (open_root / "root" / INITRD).chmod(0o600)
    done = klp_as_nobody("doctor", root=open_root / "root")
    assert done.returncode == 69
    assert f"unknown  {open_root}/root/{INITRD} cannot be read: Permission denied" in done.stdout
    for place in ("boot", "etc/products.d", "lib", f"sys/kernel/livepatch/{MODULE}"):
        (open_root / "root" / place).chmod(0o700)
    database_directory(open_root / "root").parent.chmod(0o700)
    done = klp_as_nobody("doctor", root=open_root / "root")
    assert (done.returncode, done.stderr) == (69, "")
    for word in (MODULE, "rpm database in", "products.d", f"lib/modules/{RELEASE}/livepatch"):
        assert any(word in line and "cannot be read: Perm" in line for line in done.stdout.splitlines()), (
            word
        )
    assert "reboot" not in done.stdout  # who sees no kernels cannot say
