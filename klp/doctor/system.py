# SPDX-License-Identifier: GPL-2.0-or-later
"""How the system is set up for live patching: where the live patches come from, and what keeps new kernels away."""

from __future__ import annotations

from collections.abc import Iterator

from klp.doctor.findings import Finding, Topic
from klp.doctor.situation import Situation


def subscribed(situation: Situation) -> Iterator[Finding]:
    """Tell whether the module with live patches is activated and its pattern installed."""
    if not situation.knows_products:
        return
    way, base = situation.subscription, situation.base
    if not way.is_known:
        what = f"{base.summary} is no product" if base else "no product is installed"
        yield Topic.SUBSCRIPTION.note(f"{what} that SUSE makes live patches for")
        return
    assert base is not None
    if way.module and not way.has_module:
        yield Topic.SUBSCRIPTION.problem(
            f"{way.module} is not activated: {base.summary} gets no live patches "
            "(where it has a registration code of its own, add -r CODE)",
            steps=(way.activate, way.install),
        )
    elif not situation.supply.is_known:
        return
    elif not situation.supply.patterns:
        yield Topic.SUBSCRIPTION.note(
            f"the pattern {' or '.join(way.patterns)} is not installed: "
            "the next kernel comes without live patches",
            steps=(way.install,),
        )
    else:
        module = f"{way.module} is activated, and " if way.module else ""
        yield Topic.SUBSCRIPTION.ok(
            f"{module}the pattern {' or '.join(sorted(situation.supply.patterns))} is installed"
        )


def lock(situation: Situation) -> Iterator[Finding]:
    """Tell whether updates bring new kernels, which ask for a reboot."""
    if not situation.package:
        return
    kernel = f"kernel-{situation.flavour}"
    if kernel in situation.supply.locked:
        yield Topic.LOCK.ok(f"{kernel} is locked: updates bring no kernel to boot into")
    elif situation.supply.is_known:
        yield Topic.LOCK.note(
            f"{kernel} is not locked: updates bring new kernels, and those ask for a reboot. "
            "Where reboots are to be avoided:",
            steps=(f"zypper addlock {kernel}",),
        )


def unread(situation: Situation) -> Iterator[Finding]:
    """Tell what could not be read, so that nobody takes silence for health."""
    for problem in situation.problems:
        yield Topic.KERNEL.unknown(problem)
