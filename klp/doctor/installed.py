# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages of the running kernel's live patches: whether what is installed runs, is the newest, and maintained."""

from __future__ import annotations

from collections.abc import Iterator

from host.clock import today
from host.names import command
from klp.doctor.findings import Finding, Topic
from klp.doctor.situation import Situation


def package(situation: Situation) -> Iterator[Finding]:
    """Tell whether the installed live patch is the one that runs, and whether there is a newer one."""
    newest = situation.newest
    if not newest:
        if situation.package in situation.supply.newest:
            yield Topic.PACKAGE.problem(
                "no live patch is installed for the running kernel, and there is one",
                steps=(f"{situation.subscription.manager} install {situation.package}",),
            )
        return
    installed = situation.packages[newest].package
    running = {patch.name for patch in situation.patches if patch.enabled}
    loaded = {module.name for module in situation.unused} | {patch.name for patch in situation.patches}
    if newest not in loaded:
        others = " and ".join(sorted(running))
        yield Topic.PACKAGE.problem(
            f"{installed.label} is installed, but its live patch {newest} is not loaded"
            + (f": {others} runs" if others else ""),
            steps=(f"modprobe {situation.file_of(newest)}", command("klp wait")),
        )
    update = situation.supply.updates.get(installed.name)
    if update is not None:
        yield Topic.PACKAGE.problem(
            f"{update.repository} has a newer live patch: {installed.name} {update.edition}",
            steps=(f"{situation.subscription.manager} update {installed.name}",),
        )
    elif newest in running:
        no_newer = ", and no repository has a newer one" if situation.supply.repositories else ""
        yield Topic.PACKAGE.ok(f"{installed.label} is what runs{no_newer}")


def maintenance(situation: Situation) -> Iterator[Finding]:
    """Tell until when the live patch that is installed gets fixes, or which data would say it."""
    if not situation.newest:
        return
    installed = situation.packages[situation.newest].package
    end = situation.supply.ends.get(installed.name)
    manager = situation.subscription.manager
    if end is None:
        data = situation.subscription.data
        yield Topic.LIFECYCLE.note(
            f"no lifecycle data say until when {installed.name} is maintained",
            steps=(f"{manager} install {data}",) if data else ("zypper search lifecycle-data",),
        )
    elif end <= today():
        yield Topic.LIFECYCLE.problem(
            f"the running kernel has got no more live patches since {end}",
            steps=(f"{manager} install kernel-{situation.flavour}", "reboot"),
        )
    elif (end - today()).days <= situation.warn_days:
        yield Topic.LIFECYCLE.note(
            f"the running kernel gets live patches until {end} only: plan a reboot into a newer one",
            steps=(f"{manager} install kernel-{situation.flavour}",),
        )
    else:
        yield Topic.LIFECYCLE.ok(f"the running kernel gets live patches until {end}")
