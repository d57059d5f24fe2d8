# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding libpulp in processes that run on: pretended ones everywhere, the real one where there is one."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host import procfs
from tests.support.images import loading
from tests.support.libpulp import VERSION, libpulp, needs_libpulp, padded_library, peer, preloaded
from tests.support.pretender import pretended
from tests.support.targets import answers_library, caller, compiled, running
from ulp.engines.pulp import abi
from ulp.engines.pulp.library import Libpulp, find
from ulp.image import Image
from ulp.memory import Memory, MemoryGone

ALL = {
    f"__ulp_{name}"
    for name in (
        *("trigger", "revert_all", "check_patched", "get_global_universe", "enable_or_disable_patching"),
        *("metadata_buffer", "state", "error_state", "version", "msg_queue", "insn_queue"),
    )
}
NAME = f"libfind{os.getpid()}.so.0"


def found(pid: int, images: dict[bytes, Image] | None = None) -> Libpulp | None:
    mappings = procfs.parse_maps(procfs.read(f"/proc/{pid}/maps"))
    with Memory(pid) as memory:
        return find(memory, mappings, {} if images is None else images)


@pytest.mark.parametrize("style", ["sysv", "gnu"])
def test_what_it_tells(style: str) -> None:
    library = pretended(error=280, flags=[f"-Wl,--hash-style={style}"])
    with loading(library) as pid:
        libpulp = found(pid)
        start = next(
            mapping.start
            for mapping in procfs.parse_maps(procfs.read(f"/proc/{pid}/maps"))
            if mapping.path == str(library)
        )
    assert libpulp is not None
    assert (libpulp.path, libpulp.bias) == (str(library), start)
    assert (libpulp.version, libpulp.loaded, libpulp.error_state) == ("0.3.17", True, 280)
    assert libpulp.symbols.keys() == ALL == set(abi.SYMBOLS)


def test_processes_of_one_build_are_told_apart() -> None:
    images: dict[bytes, Image] = {}
    library = pretended()
    with loading(library) as one, loading(library) as two:
        first, second = found(one, images), found(two, images)
    assert first is not None and second is not None
    differences = {second.symbols[name] - first.symbols[name] for name in ALL}
    assert differences == {second.bias - first.bias}


def test_old_ones_lack_symbols() -> None:
    with loading(pretended(version=None, error=None)) as pid:
        libpulp = found(pid)
    assert libpulp is not None
    assert (libpulp.version, libpulp.error_state, libpulp.loaded) == ("", 0, True)
    assert ALL - libpulp.symbols.keys() == {"__ulp_version", "__ulp_error_state"}


def test_one_whose_constructor_has_not_run() -> None:
    with loading(pretended(loaded=False)) as pid:
        libpulp = found(pid)
    assert libpulp is not None and not libpulp.loaded


def test_a_file_that_is_gone_and_one_of_another_name(tmp_path: Path) -> None:
    for name in (abi.NAME, ".nfs000000000001", "preloaded"):
        path = tmp_path / name
        shutil.copy(pretended(), path)
        with loading(path) as pid:
            path.unlink()
            libpulp = found(pid)
        assert libpulp is not None and libpulp.path == f"{path} (deleted)"


def test_one_that_is_set_up_comes_first(tmp_path: Path) -> None:
    """Two files of one soname are both loaded by their paths."""
    for place, loaded in (("a", True), ("b", False)):
        (tmp_path / place).mkdir()
        shutil.copy(pretended(loaded=loaded, flags=["-Wl,-soname,"]), tmp_path / place / "libpulp.so.0")
    paths = [tmp_path / "a" / "libpulp.so.0", tmp_path / "b" / "libpulp.so.0"]
    for order in (paths, paths[::-1]):
        with loading(*order) as pid:
            libpulp = found(pid)
        assert libpulp is not None and libpulp.loaded and libpulp.path == str(paths[0])


def test_a_process_without() -> None:
    library = answers_library(name=NAME)
    with running(caller(library)) as target:
        assert found(target.pid) is None


def test_what_only_looks_like_it(tmp_path: Path) -> None:
    """A library with that name but other contents, and libpulp's file mapped by somebody who reads it."""
    impostor = compiled("int f(void);\nint f(void) { return 1; }\n", "-fPIC", "-shared", name=abi.NAME)
    with loading(impostor) as pid:
        assert found(pid) is None
    text = tmp_path / "libpulp.so.txt"
    text.write_text("no ELF file\n" * 1000)
    own = [text, pretended()]
    views = []
    for path in own:
        with path.open("rb") as file:
            views.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    assert found(os.getpid()) is None
    for view in views:
        view.close()


def test_a_reader_of_the_file_does_not_hide_it() -> None:
    """The file is mapped twice: once to be read, once as the dynamic linker does it."""
    code = "import ctypes, mmap, sys, time; f = open(sys.argv[1], 'rb')\n"
    code += "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); ctypes.CDLL(sys.argv[1])\n"
    code += "n = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(flush=True); time.sleep(300)"
    with subprocess.Popen([sys.executable, "-S", "-c", code, pretended()], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == b"\n"
            assert found(child.pid) is not None
        finally:
            child.kill()


def test_a_process_that_ends() -> None:
    with loading(pretended()) as pid:
        mappings = procfs.parse_maps(procfs.read(f"/proc/{pid}/maps"))
        with Memory(pid) as memory:
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}/maps") and procfs.read(f"/proc/{pid}/maps"):
                time.sleep(0.001)
            with pytest.raises(MemoryGone):
                find(memory, mappings, {})


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.3.17", (0, 3, 17)), ("0.3.17+git5.a1", (0, 3, 17)), ("1.2.3.4", (1, 2, 3)), ("0.3", (0, 0, 0)),
     ("", (0, 0, 0)), ("x.y.z", (0, 0, 0)), ("0.-1.2", (0, 0, 0)), ("0.²3.2", (0, 0, 0))],
)  # fmt: skip
def test_versions(text: str, numbers: tuple[int, int, int]) -> None:
    assert abi.version_number(text) == numbers


def test_errors_have_sentences() -> None:
    assert abi.sentence(0) == "Success"
    assert abi.sentence(11) == "Resource temporarily unavailable"
    assert abi.sentence(256) == "Unknown error"
    assert abi.sentence(275) == "Patch already applied"
    assert abi.sentence(280) == "Livepatching blocked by user request"
    assert abi.sentence(287) == "Failure in dlopen"
    assert abi.sentence(289) == "Libc not found or unsupported."
    assert abi.sentence(290) == "Unknown error 290" and abi.sentence(-514) == "Unknown error -514"


@needs_libpulp
def test_the_real_one() -> None:
    library = padded_library(name=NAME)
    with preloaded(caller(library)) as target:
        told = found(target.pid)
        assert told is not None
        assert Path(told.path) == peer().library.resolve()
        assert (told.version, told.loaded, told.error_state) == (VERSION, True, 0)
        assert told.symbols.keys() == ALL
        assert libpulp("set_patchable", "-p", str(target.pid), "disable").returncode == 0
        told = found(target.pid)
        assert told is not None and told.error_state == abi.DISABLED_BY_USER
    with preloaded(caller(library), "main-exits") as target:
        target.until(lambda: procfs.live_thread(target.pid) not in {None, target.pid}, "main thread's end")
        tid = procfs.live_thread(target.pid)
        mappings = procfs.parse_maps(procfs.read(f"/proc/{target.pid}/task/{tid}/maps"))
        with Memory(target.pid, tid=tid) as memory:
            assert find(memory, mappings, {}) is not None
