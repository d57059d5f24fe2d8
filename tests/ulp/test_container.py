# SPDX-License-Identifier: GPL-2.0-or-later
"""Container files: what is read, what is refused, and that hostile ones end in BadDataError."""

from __future__ import annotations

import os
import socket
import statistics
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import BadDataError, Error, NoInputError, NotPermittedError
from tests.support.containers import build_container, build_library
from ulp import container
from ulp.container import Container, Reference, Unit, is_container, parse, read, verify
from ulp.container_format import (
    COMMENTS_SECTION,
    REVERT_SECTION,
    SECTION,
    Metadata,
    encode_apply,
    encode_comments,
    encode_revert,
)
from ulp.section_writer import with_sections

LIBRARY = """
int variable = 1;
__thread int per_thread = 2;
int first(void) { return 1; }
int second(void) { return 2; }
"""
PATCH = """
int *pointer;
unsigned long index[2];
int new_first(void) { return 10; }
int new_second(void) { return *pointer; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("library"), LIBRARY)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Path:
    """A container with all that there can be, small, so that a test can go through all its bytes."""
    return build_container(
        tmp_path_factory.mktemp("container"),
        PATCH,
        target=library,
        functions={"first": "new_first", "second": "new_second"},
        references=["variable:pointer", "%per_thread:index"],
        comments="CVE-2024-50602 fixed\nsee bsc#42",
        flags=["-nostdlib", "-Wl,-z,noseparate-code", "-Wl,-z,norelro"],
    )


def changed(found: Container, **changes: object) -> Metadata:
    """What the container's sections say, with some of it changed."""
    kept = {name: vars(found)[name] for name in Metadata.__dataclass_fields__}
    return Metadata(**(kept | changes))


def repacked(found: Container, metadata: Metadata) -> bytes:
    """The container's file with other sections."""
    sections = {
        SECTION: encode_apply(metadata),
        REVERT_SECTION: encode_revert(metadata),
        COMMENTS_SECTION: encode_comments(metadata),
    }
    return with_sections(found.image, sections)


def test_what_was_packed_is_read(packed: Path, library: Path) -> None:
    found = read(packed)
    verify(found)
    assert [(unit.old_name, unit.new_name) for unit in found.units] == [
        ("first", "new_first"),
        ("second", "new_second"),
    ]
    assert [(each.target_name, each.patch_name, each.tls) for each in found.references] == [
        ("per_thread", "index", True),
        ("variable", "pointer", False),
    ]
    assert found.comments == "CVE-2024-50602 fixed\nsee bsc#42\n"
    assert found.labels == ("CVE-2024-50602", "bsc#42")
    assert found.target_name == library.name
    assert found.dependencies == ()
    assert found.elf is found.elf
    assert found.patch_id[:16] == found.elf.build_id()[:16]
    assert read(str(packed)) == found


def test_reading_takes_less_than_a_millisecond(packed: Path) -> None:
    times = []
    for _ in range(30):
        started = time.perf_counter()
        read(packed)
        times.append(time.perf_counter() - started)
    assert statistics.median(times) < 0.001


def test_stripped_container_is_read(packed: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.so"
    subprocess.run(["strip", "-o", stripped, packed], check=True)
    found = read(stripped)
    assert found.elf.symbols(".symtab") == ()
    verify(found)
    assert (found.units, found.references) == (read(packed).units, read(packed).references)


def test_container_without_revert_section_or_comments_is_read(packed: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.so"
    subprocess.run(
        ["objcopy", "--remove-section", REVERT_SECTION, "--remove-section", COMMENTS_SECTION, packed, bare],
        check=True,
    )
    assert read(bare).comments == ""
    assert read(bare).units == read(packed).units


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", ()),
        ("bsc#1200316 jsc#SLE-20049 CVE-2021-3449", ("bsc#1200316", "jsc#SLE-20049", "CVE-2021-3449")),
        ("BSC#1,JSC#sle-2;cve-2020-3", ("bsc#1", "jsc#SLE-2", "CVE-2020-3")),
        ("cve-1-2 CVE-1-2 cve-1-2", ("CVE-1-2",)),
        ("bsc# jsc#- cve-- bsc#x CVE-2024", ()),
        ("xbsc#7y", ("bsc#7",)),
        ("bsc#\u0661", ()),
    ],
)
def test_labels(text: str, labels: tuple[str, ...]) -> None:
    assert container.find_labels(text) == labels


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"nothing\.so: No such file"):
        read(tmp_path / "nothing.so")
    assert not is_container(tmp_path / "nothing.so")


def test_cut_off_before_its_section_headers(tmp_path: Path, packed: Path) -> None:
    data = packed.read_bytes()
    headers = int.from_bytes(data[40:48], "little")  # e_shoff
    for length in (64, headers, headers + 64, headers + 100, len(data) - 64):
        (tmp_path / "cut.so").write_bytes(data[:length])
        assert not is_container(tmp_path / "cut.so")
    assert is_container(packed)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="a directory"):
        read(tmp_path)
    assert not is_container(tmp_path)


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    started = time.process_time()
    with pytest.raises(BadDataError, match="a FIFO"):
        read(tmp_path / "fifo")
    assert not is_container(tmp_path / "fifo")
    assert time.process_time() - started < 1


def test_device_and_socket(tmp_path: Path) -> None:
    for device in ("/dev/zero", "/dev/tty"):
        with pytest.raises(BadDataError, match="a character device"):
            read(device)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(BadDataError, match="a socket"):
            read(tmp_path / "socket")


def test_unreadable(tmp_path: Path, packed: Path) -> None:
    """Asked by a child that is nobody, as tests may run as root."""
    secret = tmp_path / "secret.so"
    secret.write_bytes(packed.read_bytes())
    secret.chmod(0)
    child = os.fork()
    if not child:
        status = 1
        try:
            if os.geteuid() == 0:
                os.chdir(tmp_path)  # pytest's directories are closed to others
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            read("secret.so")
        except NotPermittedError as error:
            status = 0 if "Permission denied" in error.sentence else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_empty_text_and_other_elf_files(tmp_path: Path, library: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello\n" * 100)
    for name in ("empty", "text"):
        with pytest.raises(BadDataError, match="not an ELF file"):
            read(tmp_path / name)
        assert not is_container(tmp_path / name)
    with pytest.raises(BadDataError, match=r"no \.ulp section"):
        read(library)
    with pytest.raises(BadDataError, match="not a shared object"):
        read(build_library(tmp_path, "int f(void) { return 1; }", name="f.o", flags=["-c"]))


def test_too_large(tmp_path: Path, packed: Path) -> None:
    huge = tmp_path / "huge.so"
    huge.write_bytes(packed.read_bytes())
    os.truncate(huge, 1 << 40)
    with pytest.raises(BadDataError, match="larger than the 64 MiB"):
        read(huge)


def test_too_large_in_memory(tmp_path: Path, library: Path) -> None:
    with pytest.raises(Error, match="256 MiB of memory"):
        build_container(
            tmp_path,
            "char a[300 << 20]; int g(void) { return a[1]; }",
            target=library,
            functions={"first": "g"},
        )


@pytest.mark.parametrize(("offset", "value"), [(18, 183), (18, 3), (18, 40), (16, 2)])
def test_other_machines_and_types(packed: Path, offset: int, value: int) -> None:
    image = bytearray(packed.read_bytes())
    struct.pack_into("<H", image, offset, value)
    if (offset, value) == (18, 183):  # aarch64 is read, on whatever machine
        assert parse(bytes(image)).elf.machine == 183
    else:
        with pytest.raises(BadDataError, match="not a shared object for x86_64 or aarch64"):
            parse(bytes(image))


def test_is_container(packed: Path, library: Path) -> None:
    assert is_container(packed)
    assert is_container(str(packed))
    assert not is_container(library)


def test_two_sections_of_one_kind(packed: Path) -> None:
    image = with_sections(packed.read_bytes(), {".ulq": b"x"})
    with pytest.raises(BadDataError, match=r"more than one \.ulp section"):
        parse(image.replace(b".ulq\0", b".ulp\0"))


def test_revert_section_of_another_live_patch(packed: Path) -> None:
    found = read(packed)
    for other in (
        changed(found, patch_id=bytes(32)),
        changed(found, build_id=bytes(20)),
        changed(found, target_name="other.so"),
    ):
        image = with_sections(found.image, {REVERT_SECTION: encode_revert(other)})
        with pytest.raises(BadDataError, match="belongs to another live patch"):
            parse(image)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"units": (Unit(old_name="first", new_name="absent", old_address=1),)},
            "lacks the function 'absent'",
        ),
        (
            {"units": (Unit(old_name="first", new_name="pointer", old_address=1),)},
            "'pointer'.* is not a function",
        ),
        (
            {
                "units": (
                    Unit(old_name="first", new_name="new_first", old_address=1),
                    Unit(old_name="first", new_name="new_second", old_address=2),
                )
            },
            "in two ways",
        ),
        (
            {
                "units": (
                    Unit(old_name="first", new_name="new_first", old_address=1),
                    Unit(old_name="alias", new_name="new_second", old_address=1),
                )
            },
            "in two ways",
        ),
        (
            {
                "references": (
                    Reference(target_name="v", patch_name="absent", target_offset=0, patch_offset=0),
                )
            },
            "lacks 'absent'",
        ),
        (
            {
                "references": (
                    Reference(target_name="v", patch_name="p", target_offset=0, patch_offset=1 << 60),
                )
            },
            "no loadable segment holds 8 bytes",
        ),
        (
            {
                "references": (
                    Reference(target_name="v", patch_name="p", target_offset=0, patch_offset=2**64 - 8),
                )
            },
            "no loadable segment holds 8 bytes",
        ),
    ],
)
def test_promises_that_the_image_does_not_keep(
    packed: Path, change: dict[str, object], sentence: str
) -> None:
    found = read(packed)
    promised = parse(repacked(found, changed(found, **change)))
    with pytest.raises(BadDataError, match=sentence):
        verify(promised)


def test_reference_at_the_very_end_of_memory(packed: Path) -> None:
    """16 bytes of a thread-local reference do not fit where 8 do."""
    found = read(packed)
    end = found.elf.loads[-1].end
    for tls in (False, True):
        reference = Reference(
            target_name="v", patch_name="p", target_offset=0, patch_offset=end - 8, tls=tls
        )
        promised = parse(repacked(found, changed(found, references=(reference,))))
        if tls:
            with pytest.raises(BadDataError, match="holds 16 bytes"):
                verify(promised)
        else:
            verify(promised)


def test_place_is_looked_up_by_name_where_no_offset_is_given(packed: Path) -> None:
    found = read(packed)
    reference = Reference(target_name="v", patch_name="pointer", target_offset=0, patch_offset=0)
    verify(parse(repacked(found, changed(found, references=(reference,)))))


def attempt(image: bytes) -> None:
    """Read and verify; only BadDataError may come out, and in time."""
    started = time.process_time()
    try:
        found = parse(image)
        verify(found)
        _ = found.labels
        found.elf.relocations()
        found.elf.symbols()
    except BadDataError as error:
        assert error.sentence
    assert time.process_time() - started < 2


def test_truncated_at_every_offset(packed: Path) -> None:
    image = packed.read_bytes()
    assert len(image) < 20000
    for size in range(len(image)):
        with pytest.raises(BadDataError):
            parse(image[:size])


def test_every_section_truncated_or_with_a_byte_more(packed: Path) -> None:
    found = read(packed)
    for section, content in ((SECTION, encode_apply(found)), (REVERT_SECTION, encode_revert(found))):
        for damaged in [content[:size] for size in range(len(content))] + [content + b"\0"]:
            with pytest.raises(BadDataError, match=f"its {section} section is damaged"):
                parse(with_sections(found.image, {section: damaged}))


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_metadata(packed: Path, data: st.DataObject) -> None:
    found = read(packed)
    content = bytearray(encode_apply(found))
    for where in data.draw(st.lists(st.integers(0, len(content) - 4), min_size=1, max_size=5)):
        value = data.draw(
            st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"/", b"\x1b", b"\xc3"])
        )
        content[where : where + len(value)] = value
    attempt(with_sections(found.image, {SECTION: bytes(content)}))


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_files(packed: Path, data: st.DataObject) -> None:
    image = bytearray(packed.read_bytes())
    places = st.one_of(
        st.integers(0, 0x300),
        st.integers(len(image) - 0x900, len(image) - 8),
        st.integers(0, len(image) - 8),
    )
    for where in data.draw(st.lists(places, min_size=1, max_size=8)):
        value = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.just(b"\xff" * 8), st.just(bytes(8)))
        )
        image[where : where + len(value)] = value
    attempt(bytes(image))


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_random_metadata(packed: Path, content: bytes) -> None:
    attempt(with_sections(packed.read_bytes(), {SECTION: content}))
