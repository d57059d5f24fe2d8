# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of /proc/PID/maps: what the kernel writes is read exactly, anything else ends in ValueError at worst."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.procfs import Mapping, parse_maps

ADDRESSES = st.integers(min_value=0, max_value=0x7FFF_FFFF_F000).map(lambda value: value & -4096)
PERMISSIONS = st.tuples(*map(st.sampled_from, ("r-", "w-", "x-", "ps"))).map("".join)
# the kernel escapes nothing but the line feed, as \012 (seq_path in fs/seq_file.c); names may hold any other byte
NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"\n" not in name)
PATHS = st.one_of(
    st.just(b""),
    NAMES.map(lambda name: b"/" + name),
    NAMES.map(lambda name: b"/" + name + b" (deleted)"),
    st.sampled_from(
        [b"[heap]", b"[stack]", b"[vdso]", b"[anon: glibc: malloc arena]", b"/memfd:ulp1-x (deleted)"]
    ),
)


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    """A mapping as the kernel may have it."""
    start, size = draw(ADDRESSES), draw(st.integers(min_value=1, max_value=1 << 30))
    return Mapping(
        start,
        start + size * 4096,
        draw(PERMISSIONS),
        draw(ADDRESSES),
        f"{draw(st.integers(0, 0xFFF)):02x}:{draw(st.integers(0, 0xFFFFF)):02x}",
        draw(st.integers(min_value=0, max_value=(1 << 64) - 1)),
        os.fsdecode(draw(PATHS)),
    )


def written(mapping: Mapping) -> bytes:
    """The line as show_map_vma in fs/proc/task_mmu.c writes it: the name begins in column 74."""
    start, end, permissions, offset, device, inode, path = mapping
    line = f"{start:08x}-{end:08x} {permissions} {offset:08x} {device} {inode} ".encode()
    return (line.ljust(73) + os.fsencode(path) if path else line) + b"\n"


@given(st.lists(mappings(), max_size=8))
def test_what_the_kernel_writes_is_read_back(wanted: list[Mapping]) -> None:
    assert parse_maps(b"".join(map(written, wanted))) == tuple(wanted)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        found = parse_maps(text)
    except ValueError:
        return
    assert all(mapping.start < mapping.end for mapping in found)


@given(mappings(), st.integers(0, 200), st.binary(max_size=4))
def test_a_damaged_line_is_read_or_refused(mapping: Mapping, position: int, noise: bytes) -> None:
    line = written(mapping)
    for damaged in (line[:position], line[:position] + noise + line[position:], line[:position] + noise):
        try:
            parse_maps(damaged)
        except ValueError:
            pass


@pytest.mark.parametrize(
    "name", ["blank and  two", "line\nfeed", "carriage\rreturn", "end ", "tab\t", "\x0b\x0c\x1c", "\udcff"]
)
def test_real_names_of_files(name: str, tmp_path: Path) -> None:
    path = os.path.join(tmp_path, name)
    with open(path, "wb+") as file:
        file.write(bytes(4096))
        file.flush()
        with mmap.mmap(file.fileno(), 4096):
            found = parse_maps(Path("/proc/self/maps").read_bytes())
    assert path.replace("\n", "\\012") in [mapping.path for mapping in found]


def test_every_process_here_is_read() -> None:
    seen = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "maps").read_bytes()
            except OSError:
                continue
            assert len(parse_maps(text)) == text.count(b"\n")
            seen += 1
    assert seen > 0


def test_a_program_of_our_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "print(open('/proc/self/maps').read())"], capture_output=True, check=True
    )
    found = parse_maps(done.stdout.rstrip() + b"\n")
    assert any(mapping.path == "[stack]" and mapping.permissions == "rw-p" for mapping in found)
    assert list(found) == sorted(found, key=lambda mapping: mapping.start)
