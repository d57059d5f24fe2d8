# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back to an older kernel live patch: what has to be in order before, and whether the kernel did it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from host import rpmdb, sysconfig, zypper
from host.errors import Error, ExitStatus
from host.names import command
from host.sysconfig import When
from klp import sysfs
from klp.blocking import find_blocking
from klp.kernel import module_name, release
from klp.loaded import unused_modules
from klp.model import KernelPatch, read_patches
from klp.running import Running, find_running
from klp.waiting import wait
from lifecycle.downgrade import Move
from lifecycle.guide import Outcome, State, incomplete, next_boot, unchanged

VARIABLE = "LIVEPATCH_KERNEL"


def check_transition(root: str) -> None:
    """Raise Error while a transition goes on: the kernel would refuse another live patch."""
    moving, problems = sysfs.in_transition(root)
    if problems:
        raise problems[0]
    if moving:
        raise Error(
            f"{moving[0]} is in transition: {_who_blocks(root)}",
            hint=f"'{command('klp wait')}' waits for its end, '{command('klp blocking -vv')}' says what helps",
            status=ExitStatus.BUSY,
        )


def check_loading(root: str, *, is_transactional: bool, snapshot: str = "") -> str:
    """Return a note about when the older live patch is loaded; raises Error if never.

    ``snapshot``: the one that is changed, where the package's script runs.
    """
    when, problem = sysconfig.read_livepatching(root=snapshot or root).when(VARIABLE)
    place = f"{snapshot}/{sysconfig.LIVEPATCHING}"
    if when is When.NEVER:
        raise Error(
            f"{VARIABLE}=never in {place}: the older live patch would be installed, but not loaded",
            hint="set it to auto, and run the command again",
        )
    if is_transactional and when is When.ALWAYS:
        return f"{VARIABLE}=always in {place}: the older live patch is loaded at once"
    return problem


def running_package(root: str) -> Running:
    """Return the live patch that is to go back: the last one that was enabled.

    Raises Error where there is none, or where nobody knows its package.
    """
    found, problem = find_running(root)
    if not found:
        if sysfs.patch_names(root) is None:
            raise Error("the kernel has no live patching", status=ExitStatus.NOTHING_MATCHED)
        raise Error("no live patch is in use", status=ExitStatus.NOTHING_MATCHED)
    if problem is not None:
        raise problem
    last = found[-1]
    if not last.name:
        raise Error(
            f"{last.patch.name} belongs to no installed package",
            hint=f"'echo 0 > /{sysfs.DIRECTORY}/{last.patch.name}/enabled' takes it back",
            status=ExitStatus.NOTHING_MATCHED,
        )
    return last


def unload_first(move: Move, root: str) -> tuple[tuple[str, ...], ...]:
    """Return the command that makes room for the older module, if that is still loaded since the kernel ran it.

    The kernel enables a live patch when its module is loaded, and never again. Raises Error where it can never be
    unloaded.
    """
    name = f"livepatch_{re.sub(r'[^0-9A-Za-z]', '_', move.target.edition)}"
    unused = unused_modules([patch.name for patch in read_patches(root)], root)
    module = next((each for each in unused if each.name == name), None)
    if module is None:
        return ()
    if module.pinned:
        raise Error(
            f"{name} cannot be loaded again before the next boot: its transition was forced, so it is still loaded",
            hint="--to VERSION goes back to another one",
        )
    return (("rmmod", name),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Looks afterwards."""

    move: Move
    before: Running
    command: tuple[str, ...]
    is_transactional: bool
    patience: float  # seconds for the transition
    root: str = "/"

    def look(self, finished: zypper.Finished) -> Outcome:
        """Return how things are now that the command has ended."""
        if self.is_transactional:
            return self._with_fields(next_boot(self.command, finished, [self.move], now=self._kernel()))
        target = self.move.target
        versions = rpmdb.installed([target.name], root=self.root)
        there = next((each for each in versions if each.evr == target.edition), None)
        if there is None:
            editions = ", ".join(each.evr for each in versions) or "no version"
            now = f"{editions} of {target.name} is installed, {self._kernel()}"
            if any(each.evr == self.move.package.evr for each in versions):
                return self._with_fields(unchanged(self.command, finished, now=now))
            return self._incomplete(finished, now)
        if any(each.evr == self.move.package.evr for each in versions):
            label = f"{target.name}-{self.move.package.evr}"
            return self._incomplete(
                finished,
                f"{target.label} is installed, and {label} still is; {self._kernel()}",
                hint=f"'rpm --erase {label}' takes away what was left",
            )
        expected = _modules((file.path for file in there.files), release(self.root))
        wait(self.root, timeout=self.patience)
        return self._of_kernel(finished, expected)

    def _of_kernel(self, finished: zypper.Finished, expected: set[str]) -> Outcome:
        label = self.move.target.label
        patches = {patch.name: patch for patch in read_patches(self.root)}
        older = next((patches[name] for name in sorted(expected) if name in patches), None)
        newer = patches.get(self.before.patch.name) if self.before.patch.name not in expected else None
        if older is None:
            name = next(iter(sorted(expected)), "")
            hint = f"'modprobe {name.replace('_', '-')}' loads it" if name else ""
            what = f"its module {name} is not loaded" if name else "it has no module for this kernel"
            return self._incomplete(
                finished, f"{label} is installed, but {what}: {self._kernel()}", hint=hint
            )
        if older.transition:
            return self._incomplete(
                finished,
                f"{label} is installed and {older.name} still in transition after {self.patience:g} s: "
                f"{_who_blocks(self.root)}",
                hint=f"'{command('klp wait')}' waits on, '{command('klp blocking -vv')}' says what helps",
            )
        if not older.in_effect or (newer is not None and newer.enabled):
            return self._incomplete(finished, f"{label} is installed, but {self._kernel()}")
        if not finished.good:
            return self._incomplete(finished, f"{label} is installed and {self._kernel()}")
        return self._with_fields(
            Outcome(
                state=State.DONE,
                sentence=f"{older.name} is in effect, {self.before.patch.name} is out of use.",
            )
        )

    def _incomplete(self, finished: zypper.Finished, now: str, *, hint: str = "") -> Outcome:
        return self._with_fields(incomplete(self.command, finished, now=now, hint=hint))

    def _with_fields(self, outcome: Outcome) -> Outcome:
        patches = [
            {"name": each.name, "enabled": each.enabled, "transition": each.transition}
            for each in read_patches(self.root)
        ]
        return replace(outcome, fields={"before": self.before.patch.name, "patches": patches})

    def _kernel(self) -> str:
        """Return what the kernel runs, as the rest of a sentence."""
        patches = [patch for patch in read_patches(self.root) if patch.enabled or patch.transition]
        return f"the kernel runs {' and '.join(map(_state, patches)) or 'no live patch'}"


def _modules(paths: Iterable[str], running: str) -> set[str]:
    """Return the kernel's names for a package's live patch modules that are for the running kernel."""
    return {
        module_name(os.path.basename(path))
        for path in paths
        if f"/lib/modules/{running}/" in path and "/livepatch/" in path and ".ko" in path
    }


def _state(patch: KernelPatch) -> str:
    if not patch.transition:
        return patch.name
    return f"{patch.name} (in transition)"


def _who_blocks(root: str) -> str:
    try:
        blocking = find_blocking(root)
    except Error as problem:
        return problem.sentence
    names = dict.fromkeys(f"{thread.name} ({thread.pid})" for thread in blocking.threads)
    if not names:
        return "no thread in sight blocks it"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it waits for {', '.join(list(names)[:5])}{more}"
