# SPDX-License-Identifier: GPL-2.0-or-later
"""The containers of the engine's tests are sound containers."""

from __future__ import annotations

from tests.support.livepatches import build_id, ten_functions
from tests.support.targets import answers_library
from ulp.container import read, verify


def test_container_of_ten_functions() -> None:
    container = read(ten_functions(200))
    verify(container)
    assert container.build_id.hex() == build_id(answers_library())
    assert [unit.old_name for unit in container.units] == [f"answer_{n}" for n in range(10)]
    assert ten_functions(200) == ten_functions(200)
    assert read(ten_functions(300)).patch_id != container.patch_id
