# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patches of a commit: whether they are in effect, and what a transition waits for.

The package's own scripts load the module; here it is only watched. The module of a package is its file
/lib/modules/RELEASE/livepatch/NAME.ko, and the kernel calls it NAME with every "-" as "_".
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from host import rpmdb
from host.errors import Error
from host.names import command
from host.sysconfig import Livepatching, When
from klp.kernel_log import transition_seconds
from klp.package import fixes_of
from zypp_plugin.report import KernelRow, PackageRow
from zypp_plugin.selection import describe
from zypp_plugin.transaction import KERNEL

if TYPE_CHECKING:
    from klp.model import KernelPatch
    from zypp_plugin.job import Job

VARIABLE = "LIVEPATCH_KERNEL"
_MODULE = re.compile(r"/(?:usr/)?lib/modules/([^/]+)/(?:.*/)?livepatch/([^/]+)\.ko(?:\.(?:gz|xz|zst))?")
_POLL = 0.25  # seconds
_NAMED = 5  # blocking processes, or numbers, in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """The kernel module of a live patch package."""

    package: str
    patch: str  # as the kernel calls it
    release: str  # of the kernel it is for
    cves: tuple[str, ...] = ()  # that the version of the package that was there before did not fix


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """The kernel live patch packages of a job."""

    packages: tuple[PackageRow, ...]
    modules: tuple[Module, ...]  # installed ones
    when: When
    problems: tuple[str, ...]


def read_packages(job: Job, *, sysconfig: Livepatching) -> Kernel:
    """Read the kernel live patch packages of a job as they are installed now; raises DatabaseError."""
    steps = [step for step in job.steps if step.kind == KERNEL]
    installed = rpmdb.installed([step.name for step in steps], root=job.root)
    rows, modules = [], []
    for step in steps:
        versions = [package for package in installed if package.name == step.name]
        package = next(
            (each for each in versions if each.evr == step.evr), versions[-1] if versions else None
        )
        if step.action == "-" and package is not None and package.evr != step.evr:
            package = None  # several versions may stand side by side; this one has gone
        rows.append(describe(step, package))
        if package is None:
            continue
        cves = tuple(cve for cve in fixes_of(package, root=job.root).cves if cve not in step.cves_before)
        for file in package.files:
            match = _MODULE.fullmatch(file.path)
            if match:
                patch = match[2].replace("-", "_")
                modules.append(Module(package=package.name, patch=patch, release=match[1], cves=cves))
    when, problem = sysconfig.when(VARIABLE)
    return Kernel(
        packages=tuple(rows),
        modules=tuple(modules),
        when=when,
        problems=(problem,) if problem and steps else (),
    )


def watch(
    kernel: Kernel,
    *,
    patience: float,
    transactional: bool,
    on_wait: Callable[[tuple[KernelRow, ...]], None],
    proc_root: str = "/",
) -> tuple[KernelRow, ...]:
    """Return how the modules stand once no transition goes on, or after ``patience`` seconds.

    Calls ``on_wait`` once when there is something to wait for.
    """
    until = time.monotonic() + patience
    waited = False
    while True:
        rows = tuple(_look(kernel.modules, kernel.when, transactional=transactional, root=proc_root))
        if not any(row.state == "in-transition" for row in rows) or time.monotonic() >= until:
            return rows
        if not waited:
            waited = True
            on_wait(rows)
        time.sleep(_POLL)


def _look(modules: Sequence[Module], when: When, *, transactional: bool, root: str) -> list[KernelRow]:
    from klp.model import read_patches

    try:
        patches = {patch.name: patch for patch in read_patches(root)}
        problem = ""
    except Error as error:
        patches, problem = {}, error.sentence
    return [
        _row(module, patches.get(module.patch), problem, when=when, transactional=transactional, root=root)
        for module in modules
    ]


def _row(
    module: Module, patch: KernelPatch | None, problem: str, *, when: When, transactional: bool, root: str
) -> KernelRow:
    name = f"kernel live patch {module.patch}"
    release = os.uname().release
    blocking: tuple[str, ...] = ()
    seconds = None
    if module.release != release:
        state = "other-kernel"
        text = f"{name} is for the next boot: it is made for the kernel {module.release}, and {release} runs"
    elif problem:
        state, text = "unknown", f"the state of {name} is unknown: {problem}"
    elif patch is None and when is When.NEVER:
        state, text = "left-out", f"{name} is not loaded: {VARIABLE}=never in /etc/sysconfig/livepatching"
    elif patch is None and transactional and when is not When.ALWAYS:
        state, text = "left-out", f"{name} takes effect with the next boot, as the update does"
    elif patch is None:
        state, text = (
            "not-loaded",
            f"{name} is installed but not loaded; '{command('klp doctor')}' says what to do",
        )
    elif patch.transition:
        blocking = _blocking(module.patch, root)
        waits = (
            f" and waits for {', '.join(blocking)}; '{command('klp blocking -vv')}' says more"
            if blocking
            else ""
        )
        state, text = "in-transition", f"{name} is in transition{waits}"
    elif not patch.enabled:
        state, text = "disabled", f"{name} is loaded but disabled"
    else:
        seconds = transition_seconds(module.patch, root=root)
        took = "" if seconds is None else f" after {seconds:.1f} s"
        state, text = "in-effect", f"{name} is in effect{took}{_brings(module.cves)}"
    return KernelRow(
        package=module.package,
        patch=module.patch,
        state=state,
        sentence=text,
        blocking=blocking,
        cves=module.cves,
        seconds=seconds,
    )


def _brings(cves: Sequence[str]) -> str:
    if not cves:
        return ""
    more = f" and {len(cves) - _NAMED} more" if len(cves) > _NAMED else ""
    return f" and brings the fixes for {', '.join(cves[:_NAMED])}{more}"


def _blocking(patch: str, root: str) -> tuple[str, ...]:
    from klp.blocking import find_blocking

    try:
        found = find_blocking(root)
    except Error:
        return ()
    if found.patch != patch:
        return ()
    names = dict.fromkeys(f"{thread.name} ({thread.pid})" for thread in found.threads)
    return tuple(names)[:_NAMED]
