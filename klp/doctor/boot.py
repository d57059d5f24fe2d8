# SPDX-License-Identifier: GPL-2.0-or-later
"""The next boot: whether one is needed, and whether the live patch is there again after one that nobody planned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from host.clock import today
from host.errors import Error
from klp.doctor.findings import Finding, Topic
from klp.doctor.situation import Situation
from klp.initrd import file_names, find_initrds
from klp.kernel import MODULE_FOLDERS, module_name

_WANTED = (
    "run/reboot-needed"  # zypp-boot-plugin and libzypp leave it; it may say reboot, kexec or soft-reboot
)


def initrd(situation: Situation) -> Iterator[Finding]:
    """Tell whether the live patches that run are in the running kernel's initrds."""
    running = [patch.name for patch in situation.patches if patch.enabled]
    wanted = {situation.file_of(name): name for name in running if name in situation.modules.values()}
    if not wanted:
        return
    rebuild = (situation.subscription.rebuild.format(situation.release),)
    initrds = find_initrds(situation.release, root=situation.root)
    if not initrds:
        yield Topic.INITRD.unknown(f"no initrd of the kernel {situation.release} is in sight", steps=rebuild)
    for path in initrds:
        try:
            held = _live_patches(path)
        except Error as problem:
            yield Topic.INITRD.unknown(problem.sentence, steps=(problem.hint,) if problem.hint else ())
            continue
        missing = [file for file, name in wanted.items() if name not in held]
        if not missing:
            yield Topic.INITRD.ok(
                f"{path} has {' and '.join(wanted)}: after a crash the kernel comes back patched"
            )
            continue
        instead = f" but {' and '.join(sorted(held.values()))}" if held else ""
        yield Topic.INITRD.problem(
            f"{path} has not {' and '.join(missing)}{instead}: after a crash these fixes are missing",
            steps=rebuild,
        )


def _live_patches(path: Path) -> dict[str, str]:
    """Return the live patch modules in an initrd: the kernel's names, and the files' without their suffixes."""
    found = {}
    for name in file_names(path):
        folder, _, file = name.rpartition("/")
        # wherever dracut puts them
        if ".ko" in file and ("livepatch" in folder.split("/") or file.startswith("livepatch")):
            found[module_name(file)] = file.partition(".ko")[0]
    return found


def reboot(situation: Situation) -> Iterator[Finding]:
    """Tell whether a reboot is needed for the kernel's sake, and if so, why."""
    if not situation.release or situation.kernels is None:
        return
    root = situation.root
    here = any(os.path.isdir(os.path.join(root, folder, situation.release)) for folder in MODULE_FOLDERS)
    if situation.kernels and not here:
        yield _needed("the modules of the running kernel are gone: nothing can be loaded into it any more")
        return
    newer = _newer_kernel(situation)
    running = [situation.packages[name].package for name in _in_effect(situation)]
    told = situation.supply.ends
    ends = [told[package.name] for package in running if package.name in told]
    if newer and (not running or any(end <= today() for end in ends)):
        lacks = "gets no more live patches" if running else "has no live patch in effect"
        yield _needed(f"the newer kernel {newer} is installed, and the running one {lacks}")
    elif newer:
        until = f", until {min(ends)}" if ends else ""
        yield Topic.REBOOT.ok(
            f"no reboot is needed now: {newer} is installed, but the running kernel gets its fixes from "
            f"live patches{until}"
        )
    elif os.path.exists(os.path.join(root, _WANTED)):
        level = _first_word(os.path.join(root, _WANTED)) or "reboot"
        yield Topic.REBOOT.note(
            f"/{_WANTED} asks for a {level}, but the running kernel is the newest that is installed: "
            "it is about something else",
            steps=("zypper ps -s",),
        )
    else:
        yield Topic.REBOOT.ok("no reboot is needed: no newer kernel is installed than the one that runs")


def _needed(why: str) -> Finding:
    return Topic.REBOOT.problem(f"a reboot is needed: {why}", steps=("reboot",))


def _in_effect(situation: Situation) -> list[str]:
    return [
        patch.name for patch in situation.patches if patch.in_effect and patch.name in situation.packages
    ]


def _newer_kernel(situation: Situation) -> str:
    """Return the newest kernel of the running one's flavour that is installed, "" if that is the running one."""
    from host.rpmdb import compare

    newest = situation.release
    for kernel in situation.kernels or ():
        left, right = (each.rpartition("-")[0] for each in (kernel, newest))
        if compare(left, right) > 0:
            newest = kernel
    return "" if newest == situation.release else newest


def _first_word(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return "".join(file.read(100).split()[:1])
    except OSError:
        return ""
