# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the program klp as its users do, on trees and on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.users import ordinary_user

KLP = Path(sys.executable).with_name("klp")

RELEASE = "6.4.0-150600.9-default"
NAME = "kernel-livepatch-6_4_0-150600_9-default"

# As in SUSE's packages, bullets of the generator included.
CHANGELOG = """\
* Tue May 13 2025 vincenzo@example.com
- Fix for CVE-2024-53042 ("ipv4: ip_tunnel: fix something")
  Live patch for CVE-2024-53042. Upstream commit:
- ad4a3ca6a8e8 ("ipv4: ip_tunnel: fix something")
  KLP: CVE-2024-53042
  References: bsc#1233678 CVE-2024-53042
- commit 8797f72

* Mon May 12 2025 marcos@example.com
- Fix a leak
  KLP: bsc#1229275
  References: bsc#1229275

* Mon May 05 2025 marcos@example.com
- Fix two, see also CVE-1999-0001
  KLP: CVE-2024-50115, CVE-2024-53042
  References: bsc#1233019 CVE-2024-50115
"""


def klp(*arguments: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run klp with these arguments, on a tree if one is given."""
    command = [str(KLP), *arguments, *(["--root", str(root)] if root else [])]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def klp_as_nobody(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run klp as a user who may read no more than everybody may."""
    before = ordinary_user() if os.geteuid() == 0 else []
    command = [*before, str(KLP), *arguments, "--root", str(root)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
