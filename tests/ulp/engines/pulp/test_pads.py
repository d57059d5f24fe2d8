# SPDX-License-Identifier: GPL-2.0-or-later
"""Which builds have space for libpulp's detours, seen in the memory of processes that have loaded them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host import procfs
from tests.support.containers import build_library
from tests.support.images import loading
from tests.support.libpulp import padded_library
from tests.support.targets import caller, running
from ulp.arch.x86_64_detour import padded_entries
from ulp.engines.pulp.pads import has_pads
from ulp.image import image_at
from ulp.memory import Memory

EXPORTED = "int f(int x) { return x + 1; }\nint g(int x) { return x + 2; }\n"
HIDDEN = """
__attribute__((visibility("hidden"), noipa)) int hidden(int x) { return x + 1; }
__asm__(".text\\n.globl f\\n.type f, @function\\nf: jmp hidden\\n.size f, . - f\\n");
"""
FILLER = (
    EXPORTED + '__asm__(".text\\n.skip 64, 0x90\\n.globl h\\n.type h, @function\\nh: nop\\nnop\\nret\\n");'
)
POSTED = '__asm__(".text\\n.skip 14, 0x90\\n.globl h\\n.type h, @function\\nh: xchg %ax, %ax\\nret\\n");'
FAR = 'char big[1 << 20] = {1};\n__asm__(".text\\n.skip 700000, 0xcc\\n");\n' + EXPORTED


def padded(pid: int, library: Path) -> bool:
    mappings = procfs.parse_maps(procfs.read(f"/proc/{pid}/maps"))
    start = next(mapping.start for mapping in mappings if mapping.path == str(library))
    with Memory(pid) as memory:
        image = image_at(memory, start, {})
        return has_pads(memory, start - image.start, image)


@pytest.mark.parametrize("style", ["sysv", "gnu"])
@pytest.mark.parametrize("endbr", [False, True], ids=["plain", "endbr64"])
@pytest.mark.parametrize("source", [EXPORTED, HIDDEN, FAR], ids=["exported", "hidden", "far"])
def test_with_pads(tmp_path: Path, source: str, endbr: bool, style: str) -> None:
    flags = [f"-Wl,--hash-style={style}"]
    library = build_library(tmp_path, source, pads=True, endbr=endbr, flags=flags)
    with loading(library) as pid:
        assert padded(pid, library)


@pytest.mark.parametrize("endbr", [False, True], ids=["plain", "endbr64"])
@pytest.mark.parametrize("source", [EXPORTED, FILLER, FAR], ids=["exported", "filler", "far"])
def test_without(tmp_path: Path, source: str, endbr: bool) -> None:
    """Nops between functions are filler, even if there are many."""
    library = build_library(tmp_path, source, endbr=endbr)
    with loading(library) as pid:
        assert not padded(pid, library)


def test_what_ulp_post_has_made(tmp_path: Path) -> None:
    library = build_library(tmp_path, POSTED, flags=["-fno-asynchronous-unwind-tables"])
    with loading(library) as pid:
        assert padded(pid, library)


def test_no_other_library_of_a_process_is_taken_for_one() -> None:
    library = padded_library(name=f"libpads{os.getpid()}.so.0")
    with running(caller(library)) as target:
        paths = {line.split(None, 5)[5] for line in target.maps().splitlines() if line.count("/")}
        files = {path for path in paths if ".so" in path or path.endswith("caller")}
        assert len(files) >= 4
        assert [path for path in files if padded(target.pid, Path(path))] == [str(library)]


def test_diverted_functions_count() -> None:
    """Else the library would vanish from the list of other processes once it was read where all is diverted."""
    for skip in (b"", b"\xf3\x0f\x1e\xfa"):
        entry = skip + b"\xeb" + bytes([256 - 16 - len(skip)])
        code = b"\xcc" * 7 + b"\xff\x25\0\0\0\0" + b"\x11" * 8 + entry + b"\xc3"
        assert list(padded_entries(code)) == [(21, True)]
        assert list(padded_entries(code.replace(b"\xeb", b"\xe9"))) == []


@pytest.mark.parametrize(
    ("code", "entries"),
    [
        (b"\x90" * 14 + b"\x66\x90", [(14, True)]),
        (b"\x90" * 14 + b"\xf3\x0f\x1e\xfa\x66\x90", [(14, True)]),
        (b"\x90" * 16, [(14, False)]),
        (b"\x90" * 14 + b"\xf3\x0f\x1e\xfa\x90\x90", [(14, False)]),
        (b"\x90" * 18, [(14, False), (15, False), (16, False)]),
        (b"\x90" * 17 + b"\x66\x90", [(14, False), (15, False), (17, True)]),
        (b"\x90" * 13 + b"\x66\x90", []),
        (b"\x90" * 15, []),
        (b"", []),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_candidates(code: bytes, entries: list[tuple[int, bool]]) -> None:
    assert list(padded_entries(code)) == entries
