# SPDX-License-Identifier: GPL-2.0-or-later
"""Which vendors zypp takes for one: an update from another vendor is none.

Classes are lists of beginnings, compared without regard to case: ``suse`` alone, and what the line
``vendors = suse,opensuse`` in the section ``[main]`` of a file in /etc/zypp/vendors.d adds. A vendor that begins
with ``opensuse`` has to be listed in full. (libzypp, VendorAttr.cc; bnc#812608, bsc#1030686.)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.zypp_config import read_ini

if TYPE_CHECKING:
    import solv

_WHOLE = "opensuse"  # no beginning of it counts


class Vendors:
    """The classes of vendors."""

    def __init__(self) -> None:
        self._classes: dict[str, int] = {"suse": 1}  # beginning: number of its class
        self._known: dict[str, int | str] = {}

    def add(self, beginnings: list[str]) -> None:
        """Make one class of vendors with these beginnings, and of the classes that have one of them."""
        names = [name.lower() for name in beginnings]
        joined = {self._classes[name] for name in names if name in self._classes}
        target = min(joined, default=len(self._classes) + 1)
        for name, number in self._classes.items():
            if number in joined:
                self._classes[name] = target
        self._classes.update(dict.fromkeys(names, target))
        self._known.clear()

    def equivalent(self, left: str, right: str) -> bool:
        """Tell whether packages of the one may replace those of the other."""
        return left == right or self._class(left) == self._class(right)

    def _class(self, vendor: str) -> int | str:
        """Return the number of the vendor's class; without one the vendor in lower case is its own."""
        known = self._known.get(vendor)
        if known is None:
            name = vendor.lower()
            if name.startswith(_WHOLE):
                known = self._classes.get(name, name)
            else:
                longest = max((each for each in self._classes if name.startswith(each)), default=None)
                known = name if longest is None else self._classes[longest]
            self._known[vendor] = known
        return known


def read_vendors(directory: Path) -> Vendors:
    """Read the files of a directory like /etc/zypp/vendors.d; what cannot be read adds nothing."""
    vendors = Vendors()
    for path in sorted(directory.glob("*")):
        words = read_ini(path).get("main", {}).get("vendors", "").split(",")
        beginnings = [word.strip() for word in words if word.strip()]
        if beginnings:
            vendors.add(beginnings)
    return vendors


def vendor_of(solvable: solv.XSolvable) -> str:
    """Return the vendor of a package in a pool, "" where none is named (which libsolv writes in two ways)."""
    return solvable.vendor if solvable.vendorid > 1 else ""
