# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klp.loaded import LoadedModule, loaded_modules, unused_modules

# As Linux 6.1 writes them: the module that was loaded last comes first.
MODULES = """\
livepatch_2 16384 1 - Live 0xffffffffc0300000 (OEK)
livepatch_1 16384 0 - Live 0xffffffffc02f0000 (OEK)
livepatch_0 16384 1 - Live 0xffffffffc02e0000 (OEK)
new 16384 1 - Loading 0xffffffffc02d0000 (OEK+)
ext4 999424 2 nfsd,foo, Live 0xffffffffc02c0000
loop 32768 3 nfsd, Live 0xffffffffc02b0000 (E)
odd - - Live 0xffffffffc02a0000
cut off
"""


def write(root: Path, text: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc/modules").write_text(text)
    return root


def test_the_lines_are_read_in_their_order(tmp_path: Path) -> None:
    modules = loaded_modules(write(tmp_path, MODULES))
    assert [module.name for module in modules] == [
        "livepatch_2",
        "livepatch_1",
        "livepatch_0",
        "new",
        "ext4",
        "loop",
    ]
    assert modules[4] == LoadedModule(name="ext4", references=2, users=("nfsd", "foo"), is_livepatch=False)
    assert [module.is_livepatch for module in modules] == [True] * 3 + [False] * 3
    assert [module.pinned for module in modules] == [True, False, True, True, False, True]


def test_what_is_loaded_without_being_in_use(tmp_path: Path) -> None:
    unused = unused_modules(["livepatch_2"], write(tmp_path, MODULES))
    assert [(module.name, module.pinned) for module in unused] == [
        ("livepatch_0", True),
        ("livepatch_1", False),
    ]


@pytest.mark.parametrize("references", ["-", "x", "\u00b2", "9" * 5000])
def test_without_a_count_nothing_is_called_pinned(tmp_path: Path, references: str) -> None:
    write(tmp_path, f"livepatch_1 16384 {references} - Live 0x0 (OEK)\n")
    assert [(module.references, module.pinned) for module in loaded_modules(tmp_path)] == [(None, False)]


def test_no_list_is_no_modules(tmp_path: Path) -> None:
    assert loaded_modules(tmp_path) == ()


@given(text=st.text())
def test_any_list_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "proc").mkdir()
    (root / "proc/modules").write_text(text, errors="surrogatepass")
    assert all(module.name for module in loaded_modules(root))
