# SPDX-License-Identifier: GPL-2.0-or-later
"""The RPM that a live patch module came in, and what its changelog says the live patch fixes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.errors import BadDataError
from klp import sysfs
from lifecycle.installed import InstalledPackage, owners

# Where modules lie: /lib is a link on merged systems, and a package may name either path.
_MODULES = ("lib/modules", "usr/lib/modules")
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}")
_BUG = re.compile(r"\w+#\w+")
_TAG = re.compile(r"^[ \t]*(KLP|References):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixes:
    """What a live patch fixes, newest first; untrusted."""

    cves: tuple[str, ...]
    others: tuple[str, ...]  # bug numbers, or words where there is no number


@dataclass(frozen=True, kw_only=True, slots=True)
class LivePatchPackage:
    """An installed package of a live patch module."""

    package: InstalledPackage
    fixes: Fixes


def read_fixes(changelog: Iterable[str]) -> Fixes:
    """Return what the entries of an RPM changelog say is fixed.

    SUSE's entries have a line ``KLP: CVE-…``, or ``KLP: `` and what else is fixed. Where no entry has one,
    the lines ``References: bsc#… CVE-…`` tell.
    """
    lines: dict[str, list[str]] = {"KLP": [], "References": []}
    for entry in changelog:
        for tag, text in _TAG.findall(entry):
            lines[tag].append(text)
    cves: dict[str, None] = {}
    others: dict[str, None] = {}
    for line in lines["KLP"] or lines["References"]:
        words = line.replace(",", " ").split()
        cves.update(dict.fromkeys(filter(_CVE.fullmatch, words)))
        others.update(dict.fromkeys(filter(_BUG.fullmatch, words)))
        rest = " ".join(word for word in words if not (_CVE.fullmatch(word) or _BUG.fullmatch(word)))
        others.update({rest: None} if rest else {})
    return Fixes(cves=tuple(cves), others=tuple(others))


def find_packages(modules: Iterable[str], *, root: str = "/") -> dict[str, LivePatchPackage]:
    """Return the packages that own the modules, by the modules' names; not those that none owns.

    Looks among the modules of the kernel that runs. Raises host.rpmdb.DatabaseError, and BadDataError if the
    tree does not tell which kernel runs.
    """
    wanted = set(modules)
    if not wanted:
        return {}
    paths = {path: name for path, name in _module_files(root) if name in wanted}
    return {
        paths[path]: LivePatchPackage(package=owner.package, fixes=read_fixes(owner.changelog))
        for path, owner in owners(paths, root=root).items()
    }


def _module_files(root: str) -> Iterable[tuple[str, str]]:
    """Yield the path inside of the root and the module's name, of all live patch modules of the kernel."""
    release = _release(root)
    for folder in _MODULES:
        for path in (Path(root) / folder / release).glob("livepatch/*.ko*"):
            yield (
                f"/{folder}/{release}/livepatch/{path.name}",
                path.name.partition(".ko")[0].replace("-", "_"),
            )


def _release(root: str) -> str:
    path = os.path.join(root, "proc/sys/kernel/osrelease")
    release = sysfs.text(path).strip()
    if not release or "/" in release or release.startswith("."):
        raise BadDataError(f"{path} does not tell which kernel runs")
    return release
