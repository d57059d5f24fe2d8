# SPDX-License-Identifier: GPL-2.0-or-later
"""A booted kernel of each generation: all live patches on disk, none loaded, and what the tests of the engine need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import once
from tests.support.machine import absence, engine, kernels, modules, packages
from tests.support.machine.apt import Unavailable
from tests.support.machine.kernels import Generation
from tests.support.machine.machine import Saved, boot
from tests.support.machine.modules import Livepatch

INITIAL = Livepatch(version=1, macros=('COMMAND_LINE "one"',), replace=True)
CUMULATIVE = Livepatch(version=2, macros=('COMMAND_LINE "two"', 'ABSENT "absent_module"'), replace=True)
LOWER = Livepatch(version=4, macros=('COMMAND_LINE "four"',))
UPPER = Livepatch(version=3, macros=('COMMAND_LINE "three"',))
VFORK = Livepatch(version=5, macros=("VFORK",))
PAUSE = Livepatch(version=6, macros=("PAUSE",))
STAY = Livepatch(version=7, macros=("STAY",))
ALL = (INITIAL, CUMULATIVE, LOWER, UPPER, VFORK, PAUSE, STAY)

# As SUSE's are, the bullets that their generator leaves included.
CHANGELOGS = {
    INITIAL: """\
* Mon Mar 03 2025 someone@example.com
- Bump up the version number
- commit 1234567
""",
    CUMULATIVE: """\
* Tue May 13 2025 someone@example.com
- Fix for CVE-2024-53042 ("ipv4: ip_tunnel: fix something")
  Live patch for CVE-2024-53042. Upstream commit:
- ad4a3ca6a8e8 ("ipv4: ip_tunnel: fix something")
  KLP: CVE-2024-53042
  References: bsc#1233678 CVE-2024-53042
- commit 8797f72

* Mon May 12 2025 someone@example.com
- Fix a leak
  KLP: bsc#1229275
  References: bsc#1229275

* Mon Mar 03 2025 someone@example.com
- Bump up the version number
- commit 1234567
""",
}


def booted(generation: Generation, factory: pytest.TempPathFactory) -> Saved:
    """Return the machine, booted unless another process of this run has done so; skips the test without one."""

    def make(place: Path) -> None:
        work = factory.mktemp("kernel")
        (work / "modules").mkdir()
        built = modules.build(ALL, kernel=kernel, into=work / "modules")
        database = packages.database(CHANGELOGS, built, kernel=kernel, work=work)
        files = {**packages.files(ALL, built, kernel=kernel), **database, **engine.files()}
        boot(kernel, files, into=place)

    try:
        kernel = kernels.kernel(generation)
        return Saved(kernel, once.directory(factory, generation.name, make))
    except Unavailable as reason:
        absence.skip(generation, reason)
