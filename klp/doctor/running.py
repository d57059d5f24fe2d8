# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that runs: whether it can be live patched, and what its live patches are doing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from host.names import command
from host.sysconfig import When, read_livepatching
from klp import sysfs
from klp.doctor.findings import Finding, Mood, Topic
from klp.doctor.situation import Situation
from klp.model import KernelPatch

_FTRACE = "proc/sys/kernel/ftrace_enabled"
_SYSCONFIG = "LIVEPATCH_KERNEL"


def kernel(situation: Situation) -> Iterator[Finding]:
    """Tell whether live patches are made for the running kernel, and whether it takes them."""
    release = situation.release or "that runs"
    if not situation.has_livepatching:
        yield Topic.KERNEL.problem(
            f"the kernel {release} has no live patching "
            f"({sysfs.livepatch_directory(situation.root)} is missing)",
            steps=("boot the kernel of the package kernel-default",),
        )
        return
    if sysfs.text(os.path.join(situation.root, _FTRACE)).strip() == "0":
        yield Topic.KERNEL.problem(
            "function tracing is switched off, and live patches need it: none can be loaded",
            steps=("sysctl kernel.ftrace_enabled=1",),
        )
    if not situation.release:
        return
    if not situation.package:
        yield Topic.KERNEL.note(
            f"{release} is no kernel that SUSE makes live patches for: "
            "those of kernel-default and kernel-rt are",
            steps=("boot the kernel of the package kernel-default",),
        )
    elif situation.packages or situation.package in situation.supply.newest:
        yield Topic.KERNEL.ok(f"live patches are made for the kernel {release}")
    elif situation.supply.repositories:
        yield Topic.KERNEL.problem(
            f"no repository has live patches for the running kernel: {situation.package} is not there",
            steps=("zypper refresh", f"zypper search --details {situation.package}"),
        )
    elif situation.supply.is_known:
        yield Topic.KERNEL.unknown(
            f"zypper knows no repository that could have live patches for the kernel {release}",
            steps=("zypper refresh",),
        )


def health(situation: Situation) -> Iterator[Finding]:
    """Tell whether the kernel has warned or crashed: no live patch mends that."""
    if not situation.health.is_fine:
        yield Topic.KERNEL.note(
            f"{situation.health.sentence}: no live patch should be taken back before it is known why",
            steps=("dmesg --level=err,warn",),
        )


def live_patches(situation: Situation) -> Iterator[Finding]:
    """Tell which live patches are in effect, which are on their way, and which are loaded for nothing."""
    for patch in situation.patches:
        yield _patch(patch)
        if patch.enabled and patch.name not in situation.packages and not situation.problems:
            yield Topic.LIVE_PATCH.note(
                f"no installed package owns the module of {patch.name}: no update replaces it"
            )
    in_use = any(patch.enabled for patch in situation.patches)
    for module in situation.unused:
        if module.pinned:
            yield Topic.LIVE_PATCH.note(
                f"{module.name} was forced out of use: threads may run its functions until the next boot"
            )
        else:
            name = situation.file_of(module.name)
            yield Finding(
                topic=Topic.LIVE_PATCH,
                mood=Mood.NOTE if in_use else Mood.PROBLEM,
                sentence=f"{module.name} is loaded but not in use"
                + ("; that costs memory only" if in_use else ": its fixes are missing"),
                steps=(f"rmmod {module.name}",) if in_use else (f"rmmod {module.name}", f"modprobe {name}"),
            )
    when, _ = read_livepatching(root=situation.root).when(_SYSCONFIG)
    if when is When.NEVER:
        yield Topic.LIVE_PATCH.note(
            f"{_SYSCONFIG}=never: a live patch that is installed takes effect with the next boot only",
            steps=(f"set {_SYSCONFIG} to auto in /etc/sysconfig/livepatching",),
        )


def _patch(patch: KernelPatch) -> Finding:
    if patch.in_effect:
        return Topic.LIVE_PATCH.ok(f"{patch.name} is in effect")
    if patch.enabled is None or patch.transition is None:
        mood, sentence, steps = Mood.UNKNOWN, "cannot be read", (command("klp patches"),)
    elif patch.transition:
        going = "is being applied" if patch.enabled else "is being taken back"
        mood, sentence = Mood.PROBLEM, f"{going}: threads still run other code"
        steps = (command("klp blocking -vv"),)
    else:
        mood, sentence = Mood.PROBLEM, "is loaded but disabled: its fixes are missing"
        steps = (f"echo 1 > /{sysfs.DIRECTORY}/{patch.name}/enabled",)
    return Finding(topic=Topic.LIVE_PATCH, mood=mood, sentence=f"{patch.name} {sentence}", steps=steps)
