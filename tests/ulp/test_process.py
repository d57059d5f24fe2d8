# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process maps, against /proc and against what the dynamic linker itself says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import build_library
from tests.support.targets import answers_library, caller, compiled, running
from ulp.process import Loading, Object, Process, scope

LINKER = "/lib64/ld-linux-x86-64.so.2"
WAITING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
/* Opens libraries: "local:", "global:" or "new:" (a namespace of its own) and a path; then waits. */
int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        char *path = strchr(words[i], ':') + 1;
        void *library = !strncmp(words[i], "new", 3) ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW)
                                                     : dlopen(path, RTLD_NOW | (*words[i] == 'g' ? RTLD_GLOBAL : 0));
        if (!library) { fputs(dlerror(), stderr); return 1; }
    }
    puts("ready");
    fflush(stdout);
    getchar();
}
"""


@contextmanager
def started(
    *words: str | Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Process, subprocess.Popen[bytes]]]:
    with subprocess.Popen(
        [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            with Process(child.pid, images={}) as process:
                yield process, child
        finally:
            child.kill()


def said_by_the_linker(*words: str | Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """The objects that ld.so would load, in its order (ld.so(8), LD_TRACE_LOADED_OBJECTS), without the vdso."""
    text = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **(environment or {}), "LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
    ).stdout
    paths = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", text, re.MULTILINE)
    return [os.path.realpath(path) for path in paths]


def paths_of(objects: Sequence[Object]) -> list[str]:
    return [os.path.realpath(item.path) for item in objects if item.path.startswith("/")]


@pytest.fixture(scope="module")
def program() -> Path:
    return compiled(WAITING, "-fPIE", "-pie", name="waiting")


@pytest.mark.parametrize(
    "words",
    [[sys.executable, "-c", "print('ready', flush=True); input()"], ["bash", "-c", "echo ready; read"]],
)
def test_the_order_is_that_of_the_dynamic_linker(words: list[str]) -> None:
    with started(*words) as (process, _):
        found = paths_of(process.linked_objects())
        expected = said_by_the_linker(*words)
        # what the program loads later comes behind
        assert found[1 : len(expected) + 1] == expected
        assert found[0] == os.path.realpath(f"/proc/{process.pid}/exe")


@pytest.mark.parametrize("flags", [("-fPIE", "-pie"), ("-no-pie", "-fno-pie")], ids=["pie", "no-pie"])
def test_addresses_are_those_of_the_memory_map(flags: tuple[str, ...]) -> None:
    with started(compiled(WAITING, *flags, name="waiting")) as (process, _):
        linked = process.linked_objects()
        first: dict[str, int] = {}
        for mapping in process.mappings:
            first.setdefault(mapping.path, mapping.start)
        for item in linked:
            assert item.bias + item.image.start == first[item.path], item.path
            assert item.link_map
        assert process.program().path == linked[0].path and process.program().bias == linked[0].bias
        if "-no-pie" in flags:
            assert linked[0].bias == 0
        assert first["[vdso]"] == process.vdso()
        assert any(item.path == "[vdso]" for item in linked)


def test_mapped_objects_are_the_linked_ones_and_each_once(program: Path) -> None:
    tiny = [
        build_library(compiled(WAITING).parent, f"int tiny{kind}(void) {{ return 1; }}", name=f"libtiny{kind}.so",
                      flags=["-Wl,-z," + ("separate-code" if kind else "noseparate-code")])
        for kind in range(2)
    ]  # fmt: skip
    with started(program, *(f"local:{path}" for path in tiny)) as (process, _):
        linked = sorted((item.bias, item.path) for item in process.linked_objects() if item.path != "[vdso]")
        assert sorted((item.bias, item.path) for item in process.mapped_objects()) == linked
        assert {str(path) for path in tiny} <= {path for _, path in linked}


def test_the_dynamic_linker_as_the_program(program: Path) -> None:
    with started(LINKER, program) as (process, _):
        linked = process.linked_objects()
        assert paths_of(linked)[0] == str(program)
        assert paths_of(linked)[1:] == said_by_the_linker(program)
        assert process.program().image.soname == "ld-linux-x86-64.so.2"


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie", "-fPIE")], ids=["static", "static-pie"])
def test_static_programs_have_no_linker(flags: tuple[str, ...]) -> None:
    source = '#include <stdio.h>\nint main(void) { puts("ready"); fflush(stdout); getchar(); }\n'
    with started(compiled(source, *flags, name="static")) as (process, _):
        assert process.linked_objects() == ()
        assert [os.path.basename(item.path) for item in process.mapped_objects()] == ["static"]
        assert process.is_64_bit()


def test_libraries_of_a_namespace_of_their_own(program: Path) -> None:
    library = answers_library()
    with started(program, f"new:{library}", f"local:{library}") as (process, _):
        mine = [item for item in process.linked_objects() if item.path == str(library)]
        assert len({item.bias for item in mine}) == len(mine) == 2
        assert len({item.link_map for item in mine}) == 2
        assert mine[0].image is mine[1].image
        libc = [item for item in process.linked_objects() if item.image.soname == "libc.so.6"]
        assert len(libc) == 2
        assert len(list(process.mapped_objects())) >= 5


def test_a_deleted_library(program: Path, tmp_path: Path) -> None:
    library = build_library(tmp_path, "int f(void) { return 1; }", name="libgone.so")
    with started(program, f"local:{library}") as (process, _):
        library.unlink()
        process.refresh()
        (item,) = [item for item in process.linked_objects() if item.image.soname == "libgone.so"]
        assert item.path == f"{library} (deleted)"
        assert item.image.symbols.find("f") is not None


def test_a_library_whose_name_is_hostile(program: Path, tmp_path: Path) -> None:
    library = build_library(tmp_path, "int f(void) { return 1; }", name="libodd.so")
    odd = tmp_path / "a b\r7f0000000000-7f0000001000 r-xp 00000000 00:00 1 (deleted)"
    library.rename(odd)
    with started(program, f"local:{odd}") as (process, _):
        (item,) = [item for item in process.linked_objects() if item.image.soname == "libodd.so"]
        assert item.path == str(odd)


def test_a_list_that_changes_is_refused(program: Path) -> None:
    """r_state of struct r_debug says so while a library is added or removed."""
    with started(program) as (process, _):
        linker = next(item for item in process.linked_objects() if "ld-linux" in item.image.soname)
        symbol = linker.image.symbols.find("_r_debug")
        assert symbol is not None
        place = linker.bias + symbol.value + 24
        process.memory.write(place, b"\1\0\0\0")
        with pytest.raises(Loading):
            process.linked_objects()
        process.memory.write(place, b"\0\0\0\0")
        assert process.linked_objects()


@pytest.mark.parametrize("offset", [0, 16, 24], ids=["address", "dynamic", "next"])
@pytest.mark.parametrize("value", [0, 8, 1 << 46, (1 << 64) - 1], ids=hex)
def test_a_list_that_is_damaged_ends(program: Path, offset: int, value: int) -> None:
    with started(program) as (process, _):
        entry = process.linked_objects()[1].link_map
        process.memory.write(entry + offset, value.to_bytes(8, "little"))
        try:
            assert len(process.linked_objects()) < 10
        except Loading:
            pass


def test_a_list_that_runs_in_a_circle_ends(program: Path) -> None:
    with started(program) as (process, _):
        linked = process.linked_objects()
        process.memory.write(linked[-1].link_map + 24, linked[0].link_map.to_bytes(8, "little"))
        assert paths_of(process.linked_objects()) == paths_of(linked)


def test_a_main_thread_that_has_exited() -> None:
    with running(caller(answers_library()), "main-exits") as target:
        target.until(lambda: target.threads()[target.pid] == "Z", "exit of the main thread")
        with Process(target.pid, images={}) as process:
            assert process.tid != target.pid
            assert str(answers_library()) in paths_of(process.linked_objects())


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ProcessLookupError):
        Process(child.pid, images={})
    with started("bash", "-c", "echo ready; read") as (process, other):
        other.kill()
        other.wait()
        with pytest.raises(ProcessLookupError):
            process.refresh()


def test_descriptors_are_closed() -> None:
    before = os.listdir("/proc/self/fd")
    with Process(os.getpid(), images={}) as process:
        process.linked_objects()
        list(process.mapped_objects())
        assert process.is_64_bit()
    assert os.listdir("/proc/self/fd") == before


# The order in which a live patch looks for symbols


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Libraries: base; upper, which needs base; apart; preloaded, which needs extra."""
    where = tmp_path_factory.mktemp("family")
    built: dict[str, Path] = {}
    for name, needs in {
        "base": (),
        "upper": ("base",),
        "apart": (),
        "extra": (),
        "preloaded": ("extra",),
    }.items():
        source = f"int {name}(void) {{ return 1; }}\n" + "".join(
            f"int {need}(void); int use_{need}(void) {{ return {need}(); }}\n" for need in needs
        )
        flags = [str(built[need]) for need in needs] + [f"-Wl,-rpath,{where}"]
        built[name] = build_library(where, source, name=f"lib{name}.so", flags=flags)
    return built


def names(objects: Sequence[Object]) -> list[str]:
    return [
        item.image.soname.removeprefix("lib").removesuffix(".so") for item in objects if item.image.soname
    ]


def test_scope_of_a_library_that_was_opened_for_itself(program: Path, family: dict[str, Path]) -> None:
    environment = {"LD_PRELOAD": str(family["preloaded"])}
    words = (program, f"local:{family['apart']}", f"local:{family['upper']}")
    with started(*words, environment=environment) as (process, _):
        linked = process.linked_objects()
        upper = next(item for item in linked if item.image.soname == "libupper.so")
        order = scope(linked, upper, ())
        assert set(map(id, order)) == set(map(id, linked)) and len(order) == len(linked)
        found = names(order)
        assert order[0] is linked[0], "the program is first"
        # what the program sees, as ld.so orders it: preloaded objects first, then what is needed, breadth first
        loaded = said_by_the_linker(program, environment=environment)
        visible = [os.path.realpath(item.path) for item in order[1:] if item.path.startswith("/")][
            : len(loaded)
        ]
        assert visible[0] == str(family["preloaded"])
        assert set(visible) == set(loaded)
        # then the target and what it needs, last what was opened for itself
        assert found.index("upper") < found.index("base") < found.index("apart")
        assert found.index("extra") < found.index("upper")


def test_scope_with_what_the_container_needs(program: Path, family: dict[str, Path]) -> None:
    with started(program, *(f"local:{family[name]}" for name in ("apart", "upper"))) as (process, _):
        linked = process.linked_objects()
        upper = next(item for item in linked if item.image.soname == "libupper.so")
        found = names(scope(linked, upper, ("libapart.so", "libabsent.so")))
        assert found.index("upper") < found.index("apart")
        assert found.index("c.so.6") < found.index("upper")


def test_scope_of_a_program(program: Path, family: dict[str, Path]) -> None:
    with started(program, f"local:{family['apart']}") as (process, _):
        linked = process.linked_objects()
        order = scope(linked, linked[0], ())
        assert order[0] is linked[0] and names(order)[-1] == "apart"
    assert scope((), linked[0], ()) == (linked[0],), "of a program without a dynamic linker"
