# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live patch fixes: from the changelog of its RPM, or from the file that the RPM ships instead.

SUSE's changelog entries have a line ``KLP: CVE-…``, or ``KLP: `` and what else is fixed. Where no entry has one, the
lines ``References: bsc#… CVE-…`` tell.

The file is /usr/share/livepatch/info/MODULE-SRCVERSION. Nothing says how it is written but the tool that shows it, so
what that prints is what is understood here: ``RPM: ``, ``CVE: `` and ``bug fixes and enhancements: ``, or else the
lines of the changelog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}")
_BUG = re.compile(r"\w+#\w[\w-]*")
_TAG = re.compile(r"^[ \t]*(KLP|References):[ \t]*(.*)$", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]*(RPM|CVE|bug fixes and enhancements):[ \t]*(.*)$", re.MULTILINE)
_NONE = "(none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixes:
    """What a live patch fixes, newest first; untrusted."""

    cves: tuple[str, ...]
    others: tuple[str, ...]  # bug numbers, or words where there is no number


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """What the file of an RPM says."""

    label: str  # NAME-VERSION-RELEASE.ARCH of the RPM; empty if it is not there
    fixes: Fixes


def read_fixes(changelog: Iterable[str]) -> Fixes:
    """Return what the entries of a changelog say is fixed."""
    lines: dict[str, list[str]] = {"KLP": [], "References": []}
    for entry in changelog:
        for tag, text in _TAG.findall(entry):
            lines[tag].append(text)
    return _sort(lines["KLP"] or lines["References"])


def read_info(text: str) -> Info | None:
    """Return what the file says; None if it says nothing that is understood."""
    fields: dict[str, str] = dict(_FIELD.findall(text))
    label = "".join(fields.get("RPM", "").split()[:1])
    fixed = [value for key, value in fields.items() if key != "RPM"]
    if fixed:
        return Info(label=label, fixes=_sort(value for value in fixed if not value.startswith(_NONE)))
    if _TAG.search(text):
        return Info(label=label, fixes=read_fixes([text]))
    return None


def _sort(lines: Iterable[str]) -> Fixes:
    cves: dict[str, None] = {}
    others: dict[str, None] = {}
    for line in lines:
        words = line.replace(",", " ").split()
        cves.update(dict.fromkeys(filter(_CVE.fullmatch, words)))
        others.update(dict.fromkeys(filter(_BUG.fullmatch, words)))
        rest = " ".join(word for word in words if not (_CVE.fullmatch(word) or _BUG.fullmatch(word)))
        others.update({rest: None} if rest else {})
    return Fixes(cves=tuple(cves), others=tuple(others))
