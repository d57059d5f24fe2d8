# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbols of a process found from outside, against what the process itself says they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.targets import compiled
from ulp import elf_constants as c
from ulp.engines.direct import symbols as module
from ulp.engines.direct.symbols import Found, Symbols
from ulp.process import Object, Process, scope
from ulp.result import Reason, Refusal
from ulp.symbol_table import Symbol

# Says the addresses of the names on standard input, "name" or "name@VERSION", as its own dynamic linker has them; for
# "&name" that of a thread-local variable, less the thread pointer
ORACLE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
__thread int mine = 5;
int main(void) {
    char line[300];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\\n")] = 0;
        char *version = strchr(line, '@');
        void *found;
        if (*line == '&') found = (void *)((char *)dlsym(RTLD_DEFAULT, line + 1) - (char *)__builtin_thread_pointer());
        else if (version) { *version = 0; found = dlvsym(RTLD_DEFAULT, line, version + 1); }
        else found = dlsym(RTLD_DEFAULT, line);
        printf("%lx\\n", (unsigned long)found);
        fflush(stdout);
    }
    return mine;
}
"""


class Oracle:
    """A process that answers for itself, and what is seen of it from outside."""

    def __init__(self, child: subprocess.Popen[str], process: Process) -> None:
        self._child = child
        self.process = process
        self.linked = process.linked_objects()
        self.symbols = Symbols(process, scope(self.linked, self.linked[0], ()))
        (self.libc,) = [item for item in self.linked if item.image.soname == "libc.so.6"]

    def says(self, name: str) -> int:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(name + "\n")
        self._child.stdin.flush()
        return int(self._child.stdout.readline(), 16)


@contextmanager
def oracle(*flags: str) -> Iterator[Oracle]:
    program = compiled(ORACLE, "-rdynamic", *flags, name="oracle")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            with Process(child.pid, images={}) as process:
                yield Oracle(child, process)
        finally:
            child.kill()


@pytest.fixture(scope="module")
def target() -> Iterator[Oracle]:
    with oracle() as found:
        yield found


def chosen_by_name(item: Object) -> dict[str, Symbol]:
    """All IFUNC symbols of an object, "name@VERSION" where there is a version."""
    from elftools.elf.elffile import ELFFile

    with Path(item.path).open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".dynsym")
        assert table is not None
        names = {
            symbol.name
            for symbol in table.iter_symbols()  # type: ignore[attr-defined]
            if symbol["st_info"]["type"] in {"STT_LOOS", "STT_GNU_IFUNC"}
            and symbol["st_shndx"] != "SHN_UNDEF"
        }
    found = {name: item.image.symbols.find(name) for name in names}
    return {name: symbol for name, symbol in found.items() if symbol is not None}


def test_every_chosen_variant_of_the_c_library(target: Oracle) -> None:
    ifuncs = chosen_by_name(target.libc)
    assert len(ifuncs) > 40
    for name, symbol in ifuncs.items():
        assert symbol.type == c.STT_GNU_IFUNC
        assert target.symbols.address(Found(target.libc, symbol)) == target.says(
            f"{name}@{symbol.version}"
        ), name


def test_the_slots_in_the_library_itself_hold_what_the_process_uses(target: Oracle) -> None:
    slots = target.libc.image.irelative_slots
    compared = 0
    for name, symbol in chosen_by_name(target.libc).items():
        if symbol.value in slots:
            value = target.process.memory.word(target.libc.bias + slots[symbol.value])
            if value:
                assert value == target.says(f"{name}@{symbol.version}"), name
                compared += 1
    assert compared > 20


def test_the_choice_of_this_process_is_that_of_the_other(target: Oracle) -> None:
    if target.libc.image.build_id not in module._own_objects():
        pytest.skip("this Python runs another C library")
    for name, symbol in chosen_by_name(target.libc).items():
        choice = target.symbols._own_choice(Found(target.libc, symbol))
        assert choice == target.says(f"{name}@{symbol.version}"), name


def test_the_slots_of_others_hold_what_the_process_uses(target: Oracle) -> None:
    compared = 0
    for name, symbol in chosen_by_name(target.libc).items():
        value = target.symbols._slot_of(Found(target.libc, symbol))
        if value:
            assert value == target.says(f"{name}@{symbol.version}"), name
            compared += 1
    assert compared > 0


def test_a_choice_that_cannot_be_told(target: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_own", {b"none": target.libc})
    never = Symbol("no_such_name", 0x10, 0, c.STT_GNU_IFUNC, "")
    with pytest.raises(Refusal, match="no_such_name the process uses cannot be told") as refusal:
        target.symbols.address(Found(target.libc, never))
    assert refusal.value.reason is Reason.UNRESOLVED_SYMBOL


PRELOADED = """
void *memcpy(void *to, const void *from, unsigned long size);
__attribute__((optimize(0))) void *memcpy(void *to, const void *from, unsigned long size) {
    char *t = to;
    const char *f = from;
    while (size--) *t++ = *f++;
    return to;
}
"""


def test_a_preloaded_function_of_this_process_says_nothing_about_others(target: Oracle) -> None:
    """An allocator or tracer may be preloaded into whoever runs ulp: its memcpy is no choice of the C library."""
    library = compiled(PRELOADED, "-fPIC", "-shared", "-fno-builtin", name="libpreloaded.so")
    script = """
import sys
from ulp.engines.direct.symbols import Found, Symbols
from ulp.process import Process, scope
with Process(int(sys.argv[1]), images={}) as process:
    linked = process.linked_objects()
    libc = next(item for item in linked if item.image.soname == "libc.so.6")
    found = Found(libc, libc.image.symbols.find("memcpy", "GLIBC_2.14"))
    symbols = Symbols(process, scope(linked, linked[0], ()))
    print(f"{symbols._own_choice(found):x} {symbols.address(found):x}")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(target.process.pid)], env={**os.environ, "LD_PRELOAD": str(library)},
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", f"{target.says('memcpy@GLIBC_2.14'):x}"]


@pytest.mark.parametrize(
    "name", ["malloc", "printf", "environ", "stdout", "dlopen", "main", "__tls_get_addr"]
)
def test_functions_and_variables(target: Oracle, name: str) -> None:
    found = target.symbols.find(name, "")
    assert found is not None
    assert target.symbols.address(found) == target.says(name)


def test_the_first_definition_wins_and_versions_are_respected(target: Oracle) -> None:
    assert target.symbols.find("no_such_name", "") is None
    assert target.symbols.find("malloc", "GLIBC_9.9") is None
    for version in ("GLIBC_2.2.5", "GLIBC_2.14"):
        found = target.symbols.find("memcpy", version)
        assert found is not None and found.symbol.version == version
        assert target.symbols.address(found) == target.says(f"memcpy@{version}")
    backwards = Symbols(target.process, tuple(reversed(target.linked)))
    found, other = target.symbols.find("main", ""), backwards.find("main", "")
    assert found is not None and found == other, "it is defined once"


# Thread-local storage


@pytest.mark.parametrize(("name", "version"), [("errno", "GLIBC_PRIVATE"), ("mine", "")])
def test_static_thread_local_variables(target: Oracle, name: str, version: str) -> None:
    found = target.symbols.find(name, version)
    assert found is not None and found.symbol.type == c.STT_TLS
    offset = found.symbol.value - target.symbols.tls_static_offset(found.owner)
    assert offset & (1 << 64) - 1 == target.says(f"&{name}")
    with pytest.raises(Refusal, match="thread-local"):
        target.symbols.address(found)


def test_module_ids_count_from_the_program(target: Oracle) -> None:
    ids = [target.symbols.tls_module(item) for item in (target.linked[0], target.libc)]
    assert ids[0] == 1 and ids[1] > 1


def test_an_object_without_thread_local_storage(target: Oracle) -> None:
    (vdso,) = [item for item in target.linked if item.path == "[vdso]"]
    for call in (target.symbols.tls_module, target.symbols.tls_static_offset):
        with pytest.raises(Refusal) as refusal:
            call(vdso)
        assert refusal.value.reason is Reason.UNRESOLVED_SYMBOL


def test_a_library_that_was_opened_later_has_no_static_storage() -> None:
    library = compiled(
        "\n__thread int many[1000]; int *f(void) { return many; }\n", "-fPIC", "-shared", name="libtls.so"
    )
    from tests.support.images import loading

    with loading(library) as pid, Process(pid, images={}) as process:
        linked = process.linked_objects()
        (item,) = [item for item in linked if item.path == str(library)]
        symbols = Symbols(process, scope(linked, item, ()))
        assert symbols.tls_module(item) > 1
        with pytest.raises(Refusal, match="not static"):
            symbols.tls_static_offset(item)


@pytest.mark.skipif(not Path("/usr/bin/musl-gcc").exists(), reason="musl is not installed")
def test_another_c_library_does_not_tell() -> None:
    program = compiled(
        ORACLE.replace("dlvsym(RTLD_DEFAULT, line, version + 1)", "0"), "-rdynamic", compiler="musl-gcc"
    )
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            with Process(child.pid, images={}) as process:
                linked = process.linked_objects()
                symbols = Symbols(process, scope(linked, linked[0], ()))
                found = symbols.find("malloc", "")
                assert found is not None and symbols.address(found)
                with pytest.raises(Refusal, match="not glibc"):
                    symbols.tls_module(linked[0])
        finally:
            child.kill()
