# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether live patching of the kernel is in order, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Iterator

from klp.doctor.findings import Finding


def examine(root: str = "/") -> Iterator[Finding]:
    """Yield what is found; raises what klp.model.read_patches raises."""
    from klp.doctor import boot, installed, running, system
    from klp.doctor.situation import read_situation

    situation = read_situation(root)
    for check in (
        running.kernel,
        running.health,
        running.live_patches,
        installed.package,
        installed.maintenance,
        boot.initrd,
        boot.reboot,
        system.subscribed,
        system.lock,
        system.unread,
    ):
        yield from check(situation)
