# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes the direct engine changes, and which it names and leaves alone."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.livepatches import (
    NEW,
    NEWER,
    OLD,
    REVERTED,
    SUCCESS,
    build_id,
    change,
    changes_and_changes_back,
    live_patch,
    ten_functions,
    trigger,
    ulp,
)
from tests.support.targets import (
    PROGRAMS,
    TEN_CALLS,
    Slot,
    answers_library,
    caller,
    closure,
    compiled,
    held,
    running,
)
from tests.support.users import NOBODY, ordinary_user
from ulp.engines.direct import inject

PADS = "-fpatchable-function-entry=16,14"


@pytest.mark.parametrize(
    "flags",
    [(), (PADS,), (PADS, "-fcf-protection=full"), ("-fcf-protection=full",), ("-fno-plt", "-Wl,-z,now")],
    ids=["stock", "pads", "pads-endbr64", "endbr64", "no-plt"],
)
def test_a_library_of_any_make(flags: tuple[str, ...]) -> None:
    library = answers_library(*flags)
    with running(caller(library)) as target:
        changes_and_changes_back(target, ten_functions(200, library=library))


def _kernel_seals() -> bool:
    """Say whether mseal(2) is there: for an empty range it does nothing."""
    return int(ctypes.CDLL(None).syscall(462, 0, 0, 0)) == 0


@pytest.mark.parametrize("condition", ["mdwe", "undumpable", "sealed"])
def test_hardened(condition: str) -> None:
    if condition == "sealed" and not _kernel_seals():
        pytest.skip("this kernel has no mseal(2) (Linux 6.10)")
    with running(caller(answers_library()), condition) as target:
        changes_and_changes_back(target, ten_functions(200))


def test_traced_by_somebody_else() -> None:
    with running(caller(answers_library())) as target:
        with held(target.pid) as tracer:
            for words in ([], ["--dry-run"]):
                said = trigger(target, *words, ten_functions(200))
                assert said.verdict == ("ERROR", "already-traced")
                assert str(tracer) in said.row["detail"]
                assert said.status != 0
            assert target.answers(10) == OLD
        target.until(lambda: target.tracer() == 0, "the tracer's end")
        changes_and_changes_back(target, ten_functions(200))


def test_a_tool_that_traces_for_moments_only() -> None:
    """As libpulp's own does to list live patches; it is out of the way sooner or later."""
    container = ten_functions(200)
    with running(caller(answers_library())) as target, held(target.pid, by="ulp", deed="again"):
        for _ in range(5):
            said = trigger(target, container)
            assert said.verdict == SUCCESS, said
            said = trigger(target, "--revert", container)
            assert said.verdict == REVERTED, said


def test_one_thread_of_many_traced_by_somebody_else() -> None:
    with running(caller(answers_library()), "sleepers=3") as target:
        thread = max(target.threads())
        with held(thread) as tracer:
            for words in ([], ["--dry-run"]):
                said = trigger(target, *words, ten_functions(200))
                assert said.verdict == ("ERROR", "already-traced")
                assert said.row["detail"] == f"process {tracer} (hand) is tracing it already"
            assert target.answers(10) == OLD
        assert set(target.threads().values()) <= {"S", "R"}


@pytest.mark.parametrize("words", [[], ["shared"]], ids=["private", "shared"])
def test_a_library_that_is_only_read_is_not_changed(words: list[str]) -> None:
    library = answers_library()
    with running(compiled("reader.c", f'-DFILE_READ="{library}"'), *words) as target:
        assert trigger(target, ten_functions(200)).verdict == ("SKIPPED", "no-such-library")
    both = compiled("reader.c", f'-DFILE_READ="{library}"', "-DWITH_LIBRARY", libraries=[library])
    with running(both, *words) as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        assert target.answers() == (200,)


def test_library_deleted_or_replaced_on_disk(tmp_path: Path) -> None:
    library = Path(shutil.copy(answers_library(), tmp_path))
    with running(caller(library)) as target:
        library.unlink()
        changes_and_changes_back(target, ten_functions(200))
        other = answers_library("-DOTHER=1")
        shutil.copy(other, library)
        changes_and_changes_back(target, ten_functions(200))
        said = trigger(target, ten_functions(300, library=other))
        assert said.verdict == ("SKIPPED", "build-id-mismatch")
        for build in (answers_library(), other):
            assert build_id(build) in said.row["detail"]
        assert target.answers(10) == OLD


def test_container_deleted_after_apply(tmp_path: Path) -> None:
    container = Path(shutil.copy(ten_functions(200), tmp_path))
    with running(caller(answers_library())) as target:
        assert trigger(target, container).verdict == SUCCESS
        container.unlink()
        assert target.answers(10) == NEW
        assert trigger(target, "--revert-all=libanswers.so.0").row["outcome"] == "SUCCESS"
        assert target.answers(10) == OLD


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Iterator[Path]:
    """A directory to chroot into that holds the caller and its libraries, and no container."""
    for path in closure(caller(answers_library())):
        copy = tmp_path / str(path).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    yield tmp_path


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chroot, namespaces and other users need root")


@needs_root
def test_chrooted_process(root: Path) -> None:
    with running(caller(answers_library()), wrapper=["chroot", str(root)]) as target:
        assert os.readlink(f"/proc/{target.pid}/root") == str(root)
        changes_and_changes_back(target, ten_functions(200))


@needs_root
@pytest.mark.parametrize(
    "kinds", [("--mount",), ("--mount", "--pid", "--fork", "--user", "--map-root-user", "--ipc", "--net")]
)
def test_process_in_other_namespaces(kinds: tuple[str, ...]) -> None:
    wrapper = ["unshare", *kinds, "--kill-child"] if "--fork" in kinds else ["unshare", *kinds]
    with running(caller(answers_library()), wrapper=wrapper, inner="--fork" in kinds) as target:
        assert os.readlink(f"/proc/{target.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        changes_and_changes_back(target, ten_functions(200))


@needs_root
def test_process_of_another_user() -> None:
    with running(caller(answers_library()), wrapper=NOBODY) as target:
        changes_and_changes_back(target, ten_functions(200))


@needs_root
def test_an_ordinary_user_cannot_change_its_own_process_that_hides_its_memory() -> None:
    with running(caller(answers_library()), "undumpable", wrapper=NOBODY) as target:
        said = trigger(target, ten_functions(200), prefix=ordinary_user())
        assert said.verdict == ("ERROR", "not-permitted")
        assert said.status == 77
        assert target.answers(10) == OLD


@needs_root
def test_an_ordinary_user_changes_what_is_its_own_only() -> None:
    library = answers_library("-DOTHER=5")
    container = ten_functions(200, library=library)
    with running(caller(library), wrapper=NOBODY) as own, running(caller(library)) as other:
        assert trigger(own, container, prefix=ordinary_user()).verdict == SUCCESS
        assert own.answers(10) == NEW
        said = trigger(other, container, prefix=ordinary_user())
        assert said.verdict == ("ERROR", "not-permitted")
        assert said.status != 0
        assert other.answers(10) == OLD
        everywhere = ulp("trigger", "--json", "--revert", container, prefix=ordinary_user())
        assert {row["pid"] for row in everywhere.rows if row["outcome"] == "SUCCESS"} == {own.pid}
        assert own.answers(10) == OLD


def test_the_same_build_mapped_twice(tmp_path: Path) -> None:
    """Two copies of one file (a program that brings its own, a second namespace) are two libraries to the process."""
    copies = [tmp_path / "one" / "libanswers.so.0", tmp_path / "two" / "libanswers.so.0"]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(answers_library(), copy)
    user = compiled(
        "caller.c",
        "-DCALLS=CALL(answer_0)",
        f'-DWITH_OPEN="{copies[0]}"',
        f'-DSECOND="{copies[1]}"',
        name="twice",
    )
    with running(user) as target:
        assert target.maps().count("libanswers.so.0") >= 8
        assert target.answers(2) == (100, 100)
        said = trigger(target, ten_functions(200))
        if all(row["outcome"] == "SUCCESS" for row in said.rows):
            assert target.answers(2) == (200, 200), "reported as patched with vulnerable code left"
        else:
            assert target.answers(2) == (100, 100)


def test_a_copy_that_comes_later_is_not_called_patched() -> None:
    """The program opens its library again after the live patch, in another namespace: that copy is as it was."""
    library = answers_library(name="libcopied.so.0")
    words = ("-DCALLS=CALL(answer_0)", f'-DWITH_OPEN="{library}"', f'-DSECOND="{library}"')
    container = ten_functions(200, library=library)
    with running(compiled("caller.c", *words, name="copier"), "late") as target:
        pid = str(target.pid)
        assert trigger(target, container).verdict == SUCCESS
        assert ulp("check", "-p", pid, container).status == 0
        target[Slot.STAGE] = 9
        target.until(lambda: not target[Slot.STAGE], "the second copy")
        assert target.answers(2) == (200, 100)

        checked = ulp("check", "-p", pid, container)
        assert checked.status == 3
        assert (
            "PARTLY APPLIED answers_livepatch200.so, only in one of 2 copies of libcopied" in checked.stdout
        )
        (finding,) = json.loads(ulp("check", "--json", container).stdout)["findings"]
        assert (finding["applied"], finding["partly"], finding["copies"]) == (False, True, 2)
        assert "only in one of 2 copies of the library" in ulp("patches", "-p", pid).stdout
        status = ulp("status", "-p", pid, container)
        assert status.status == 1
        assert "partly-patched" in status.stdout and "is loaded 2 times in the process" in status.stdout
        said = trigger(target, container)
        assert said.verdict == ("ERROR", "loaded-twice")
        assert target.answers(2) == (200, 100)

        assert ulp("trigger", "--revert", "-p", pid, container).status == 0
        assert target.answers(2) == (100, 100)
        assert ulp("check", "-p", pid, container).status == 1


def test_opened_rtld_local() -> None:
    library = answers_library()
    user = compiled("caller.c", TEN_CALLS, f'-DWITH_OPEN="{library}"', name="opener")
    with running(user) as target:
        changes_and_changes_back(target, ten_functions(200))


def test_program_does_not_use_the_library() -> None:
    alone = compiled("caller.c", TEN_CALLS, "-DALONE", f"-include{PROGRAMS}/answers.c", name="alone")
    with running(alone) as target:
        said = trigger(target, ten_functions(200))
        assert said.verdict == ("SKIPPED", "no-such-library")
        assert target.answers(10) == OLD


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie",)], ids=["static", "static-pie"])
def test_static_binary(flags: tuple[str, ...]) -> None:
    alone = compiled("caller.c", TEN_CALLS, *flags, f"-include{PROGRAMS}/answers.c", name="alone")
    with running(alone) as target:
        said = trigger(target, ten_functions(200))
        assert said.verdict == ("SKIPPED", "static-binary")
        assert target.answers(10) == OLD


@pytest.mark.parametrize(
    "flags",
    [("-pie", "-fPIE"), ("-no-pie", "-fno-pie"), ("-pie", "-fPIE", "-rdynamic"), ("-pie", "-fPIE", PADS)],
    ids=["pie", "no-pie", "rdynamic", "pads"],
)
def test_main_program_is_the_target(flags: tuple[str, ...]) -> None:
    words = ("caller.c", TEN_CALLS, "-Wl,--build-id", *flags, f"-include{PROGRAMS}/answers.c")
    alone = compiled(*words, name="a-program-with-a-name-of-more-than-15-letters")
    with running(alone) as target:
        changes_and_changes_back(target, ten_functions(200, library=alone))


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="no musl-gcc here")
def test_musl_program() -> None:
    library = compiled(
        "answers.c",
        "-fPIC",
        "-shared",
        "-Wl,-soname,libanswers.so.0,--build-id",
        name="libanswers.so.0",
        compiler="musl-gcc",
    )
    musl = compiled(
        "caller.c", TEN_CALLS, "-DWITH_HELD",
        "-idirafter/usr/include", "-idirafter/usr/include/x86_64-linux-gnu",
        libraries=[library], compiler="musl-gcc", name="musl-caller",
    )  # fmt: skip
    with running(musl, "sleepers=4") as target:
        changes_and_changes_back(target, ten_functions(200, library=library))


SPIN_32 = """
void _start(void) { for (;;) __asm__ volatile("int $0x80" : : "a"(29)); /* pause */ }
"""


def test_program_of_another_architecture() -> None:
    small = compiled(
        SPIN_32, "-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie", name="small"
    )
    try:
        context = running(small, ready=False)
        with context as target:
            time.sleep(0.05)
            said = trigger(target, ten_functions(200))
            assert said.row["reason"] in {"other-architecture", "static-binary"}
            assert said.row["reason"] == "other-architecture", (
                "its being static does not matter: it is not ours"
            )
            assert target.is_alive
    except OSError as error:
        pytest.skip(f"this kernel runs no 32-bit programs: {error}")


def test_kernel_thread_and_process_that_is_gone() -> None:
    second = Path("/proc/2/comm")  # a container has no kernel thread, and perhaps no process 2
    if os.geteuid() == 0 and second.exists() and second.read_text().strip() == "kthreadd":
        assert trigger(2, ten_functions(200)).verdict == ("SKIPPED", "kernel-thread")
    with subprocess.Popen(["/bin/true"]) as gone:
        pass
    said = trigger(gone.pid, ten_functions(200))
    assert said.status != 0
    if said.rows:
        assert said.verdict == ("SKIPPED", "process-gone")


def test_zombie() -> None:
    with subprocess.Popen(["/bin/true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        said = trigger(zombie.pid, ten_functions(200))
        assert said.verdict == ("SKIPPED", "process-gone")


@pytest.mark.parametrize(
    ("limit", "reason"), [("memory-limit", "no-memory"), ("file-limit", "no-descriptor")]
)
def test_a_limit_of_the_process_leaves_no_room(limit: str, reason: str) -> None:
    with running(caller(answers_library()), limit) as target:
        before = target.maps()
        said = trigger(target, "--timeout", "0.2", ten_functions(200))
        assert said.verdict == ("ERROR", reason)
        assert said.status != 0
        assert target.answers(10) == OLD
        assert target.maps() == before


def test_private_library_of_a_python_process() -> None:
    """A library that only an extension module, itself opened RTLD_LOCAL, links: libcrypto under _ssl."""
    code = (
        "import ssl, sys, ctypes\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin: print(ssl.RAND_bytes(4).hex(), flush=True)\n"
    )
    source = """
    int new_rand(unsigned char *buffer, int count);
    int new_rand(unsigned char *buffer, int count) {
        for (int i = 0; i < count; i++) buffer[i] = 0x5a;
        return 1;
    }
    """
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            library = next(
                Path(line.split()[-1])
                for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()
                if "libcrypto.so" in line
            )
            container = live_patch(
                library, source, {"RAND_bytes": "new_rand"}, name="libcrypto_livepatch1.so"
            )

            def ask() -> str:
                assert process.stdin and process.stdout
                process.stdin.write("\n")
                return process.stdout.readline().strip()

            assert ask() != "5a5a5a5a"
            assert trigger(process.pid, container).verdict == SUCCESS
            assert ask() == "5a5a5a5a"
            assert trigger(process.pid, "--revert", container).verdict == REVERTED
            assert ask() != "5a5a5a5a"
        finally:
            process.kill()


def test_all_processes_and_nobody_else() -> None:
    """Without -p: everyone who maps this build, and no process that maps another one."""
    library, other = answers_library("-DOTHER=3"), answers_library("-DOTHER=4")
    container = ten_functions(300, library=library)
    with (
        running(caller(library)) as one,
        running(caller(library)) as two,
        running(caller(other)) as third,
    ):
        said = ulp("trigger", "--json", container)
        assert said.status == 0, said
        assert {row["pid"] for row in said.rows if row["outcome"] == "SUCCESS"} == {one.pid, two.pid}
        assert one.answers(10) == NEWER and two.answers(10) == NEWER and third.answers(10) == OLD
        said = ulp("trigger", "--json", "--revert", container)
        assert {row["pid"] for row in said.rows if row["outcome"] == "SUCCESS"} == {one.pid, two.pid}
        assert one.answers(10) == OLD and two.answers(10) == OLD


def test_a_kernel_that_knows_fewer_flags_of_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 6.3 there is no MFD_NOEXEC_SEAL."""
    monkeypatch.setattr(inject, "_MFD_NOEXEC_SEAL", 1 << 12)
    inject._memfd_flags.cache_clear()
    try:
        with running(caller(answers_library())) as target:
            assert change(target, ten_functions(200)) == SUCCESS
            assert target.answers(10) == NEW
    finally:
        inject._memfd_flags.cache_clear()
