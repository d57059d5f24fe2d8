# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole machine: a real kernel, systemd, zypper, our package, and packages of live patches that it can install."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import once, package, rpms
from tests.support.livepatches import ten_functions
from tests.support.machine import absence, engine, guest, kernels, modules, packages, system, zypper
from tests.support.machine.apt import Unavailable
from tests.support.machine.kernels import Generation
from tests.support.machine.machine import Finished, Machine, Saved, boot
from tests.support.machine.modules import Livepatch


def _patch(version: int, *macros: str) -> Livepatch:
    return Livepatch(version=version, macros=(f'COMMAND_LINE "{version}"', *macros), replace=True)


ONE, TWO, THREE, FOUR = PATCHES = [_patch(1), _patch(2, "VFORK"), _patch(3), _patch(4)]

# Debian's flavours have two words, and no package that is called after them can be one of SUSE's
KERNEL = "kernel-livepatch-6_1_0-1-default"
OTHER = "9.9.9-150600.9-default"  # a kernel that does not run
OTHER_KERNEL = packages.name(OTHER)
USERSPACE = "answers-livepatches"


def _changelog(*fixes: str) -> str:
    entries = [
        f"* Tue May {12 + len(fixes) - number} 2025 someone@example.com\n- Fix for {fix}\n  KLP: {fix}\n"
        f"  References: bsc#1233678 {fix}\n- commit 8797f72\n"
        for number, fix in enumerate(fixes)
    ]
    return "\n".join([*entries, "* Mon Mar 03 2025 someone@example.com\n- Bump up the version number\n"])


_FIXES = [f"CVE-2025-000{version}" for version in (4, 3, 2)]
CHANGELOGS = {patch: _changelog(*_FIXES[len(PATCHES) - patch.version :]) for patch in PATCHES}


def booted(factory: pytest.TempPathFactory, generation: Generation = kernels.GENERATIONS[0]) -> Saved:
    """Return the machine, booted unless another process of this run has done so; skips the test without one.

    systemd runs, our package is installed, and a repository has what ``install`` takes. Of the packages called
    after the running kernel, as klp wants them, FOUR is installed and not loaded.
    """

    def make(place: Path) -> None:
        work = factory.mktemp("whole")
        (work / "modules").mkdir()
        made = modules.build(PATCHES, kernel=kernel, into=work / "modules")
        offered = [
            zypper.package(patch, made[patch.name], release=release, name=name, changelog=CHANGELOGS[patch])
            for patch, release, name in (
                *((each, kernel.release, name) for name in (KERNEL, "") for each in PATCHES),
                (ONE, OTHER, ""),
            )
        ]
        installed = [zypper.GLIBC, package.DEBIAN, offered[-2]]
        offered.append(rpms.livepatch_spec(USERSPACE, [ten_functions(200, name="answers_livepatch1.so")]))
        repository = work / "repository"
        rpms.build(offered, into=repository, work=work / "build")
        built = package.built(factory)
        for file in (built.first, built.second):
            shutil.copy(file, repository)
        path, text = package.PRESETS
        files = {
            **system.files(),
            **zypper.files(repository, installed, work=work),
            **packages.files((THREE, FOUR), made, kernel=kernel),
            **guest.python_packages(package.PYTHON),
            **engine.files(),
            path: text.encode(),
        }
        boot(kernel, files, into=place, prepare=_prepare)

    try:
        kernel = kernels.kernel(generation)
        return Saved(kernel, once.directory(factory, f"whole-{generation.name}", make))
    except Unavailable as reason:
        absence.skip(generation, reason)


def _prepare(machine: Machine) -> None:
    machine.run("rm", "/usr/bin/klp")  # of the checkout
    system.start(machine)
    done = install(machine, "zypp-livepatch=0.1.0")
    assert done.status == 0, done


def install(machine: Machine, *words: str) -> Finished:
    """Let zypper install packages."""
    return machine.run("zypper", "--non-interactive", "install", *words)
