# SPDX-License-Identifier: GPL-2.0-or-later
"""What kind of thing has a name: a live patch or another package, or what libsolv keeps among packages.

On the path of every commit of zypper: nothing that costs is imported.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    import solv

# Behind the dash what `uname -r` says, with _ for each dot; whoever builds live patches for a kernel of his own keeps
# to that. The words are the parts of such a package that are no live patch.
KERNEL_LIVE_PATCH = re.compile(
    r"(?:kgraft-patch|kernel-livepatch)-\d+_\d+[\w+~]*(?:-(?!(?:debuginfo|debugsource|devel|extra)$)[\w+~]+)+"
)
LIBRARY_LIVE_PATCHES = "-livepatches"  # the end of a package's name
PRODUCT = "product:"

_OTHERS = (PRODUCT, "pattern:", "patch:", "application:", "srcpackage:", "delta:")
_SOURCES = ("src", "nosrc")


def is_live_patch(name: str) -> bool:
    """Tell whether a package with this name is a live patch, of the kernel or of a library."""
    return name.endswith(LIBRARY_LIVE_PATCHES) or KERNEL_LIVE_PATCH.fullmatch(name) is not None


def is_package(solvable: solv.XSolvable) -> bool:
    """Tell whether a solvable is a package that can be installed."""
    return not solvable.name.startswith(_OTHERS) and solvable.arch not in _SOURCES
