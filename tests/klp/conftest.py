# SPDX-License-Identifier: GPL-2.0-or-later
"""What several tests of klp look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rpms
from tests.support.installed_root import install
from tests.support.kernel_tree import write_loaded, write_module, write_patch
from tests.support.klp import CHANGELOG, NAME, RELEASE


@pytest.fixture(scope="session")
def livepatched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with an initial live patch that was disabled, and the second in effect, both from RPMs."""
    work = tmp_path_factory.mktemp("livepatched")
    root = work / "root"
    specs = []
    for version, changelog in (("1", ""), ("2", CHANGELOG)):
        path = write_module(root, RELEASE, f"livepatch-{version}-150600_2_1.ko")
        files = {path: root / path[1:]}
        specs.append(
            rpms.Spec(name=NAME, version=version, release="150600.2.1", files=files, changelog=changelog)
        )
        write_patch(root, f"livepatch_{version}_150600_2_1", enabled=int(version == "2"))
    write_loaded(root, "livepatch_2_150600_2_1", "livepatch_1_150600_2_1 0")
    install(root, specs, work=work)
    return root


@pytest.fixture
def open_root() -> Iterator[Path]:
    """Give a root that an ordinary user can reach."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        yield root
