# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin of tukit: does the commit plugin's work where libzypp runs none for another root (before 17.31.26).

transactional-update's doc/tukit-plugins.md: it is called as ``PLUGIN STAGE PATH SNAPSHOT WORD...`` before
(callExt-pre) and after (callExt-post) zypper, from outside of the snapshot. What zypper did is the difference; where
the commit plugin was at work meanwhile, its report says so. An update never fails because of this: the status is 0.
"""

from __future__ import annotations

import json
import os
import sys

from zypp_plugin import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zypp_plugin.job import PackageStep

_STATE = "/run/zypp-livepatch/tukit-{}.json"
_LONGEST = 1 << 20  # bytes


def main() -> int:
    """Do what the stage asks for; returns 0."""
    try:
        stage, _, snapshot, *words = sys.argv[1:]
    except ValueError:  # a stage of another kind
        return 0
    root = f"/.snapshots/{snapshot}/snapshot"
    if stage in _STAGES and snapshot.isdigit() and os.path.isdir(root) and _is_zypper(words):
        try:
            _STAGES[stage](root, _STATE.format(snapshot))
        except Exception as error:  # tukit logs it, and goes on
            print(f"zypp-livepatch: {stage}: {type(error).__name__}: {error}")
    return 0


def _is_zypper(words: list[str]) -> bool:
    return os.path.basename(words[0]) == "zypper" if words else False


def _before(root: str, state: str) -> None:
    """Remember what is installed before zypper begins."""
    import time

    os.makedirs(os.path.dirname(state), mode=0o755, exist_ok=True)
    with open(f"{state}.{os.getpid()}", "w", encoding="ascii") as file:
        json.dump({"since": time.time(), "packages": _packages(root)}, file)
    os.rename(f"{state}.{os.getpid()}", state)


def _after(root: str, state: str) -> None:
    """Hand what has changed to a worker, unless the commit plugin has."""
    from host.files import read_regular

    known = json.loads(read_regular(state, limit=_LONGEST))
    os.unlink(state)
    steps = _steps(known["packages"], _packages(root))
    if not steps or _is_reported(root, known["since"]):
        return
    from host import config
    from zypp_plugin.handoff import start_worker
    from zypp_plugin.job import Job

    if config.load().enabled:
        print(start_worker(Job(root=root, zypper=0, steps=tuple(steps)).encode()), end="")


_STAGES = {"callExt-pre": _before, "callExt-post": _after}


def _packages(root: str) -> dict[str, dict[str, str]]:
    """Return the live patch packages under a root: kind and EVR by name."""
    from host import rpmdb

    found: dict[str, dict[str, str]] = {}
    for name, evr in rpmdb.editions(root=root).items():
        kind = transaction.kind_of(name, root=root)
        if kind:
            found[name] = {"kind": kind, "evr": evr}
    return found


def _steps(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[PackageStep]:
    from zypp_plugin.job import PackageStep

    steps = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        one = new or old
        assert one is not None
        steps.append(
            PackageStep(
                name=name,
                kind=one["kind"],
                action="+" if new else "-",
                stage="ok",
                evr=one["evr"],
                before=(old["evr"],) if old else (),
            )
        )
    return steps


def _is_reported(root: str, since: float) -> bool:
    """Tell whether the commit plugin has handed this over."""
    from host.errors import Error
    from zypp_plugin import archive

    for path in archive.paths():
        try:
            report = archive.read(path)
        except Error:
            continue
        if report.started < since:
            return False
        if report.root == root:
            return True
    return False
