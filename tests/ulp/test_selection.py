# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths, wildcards and process names, with real files and real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import procfs
from host.errors import BadDataError, Error, ExitStatus, NoInputError, UsageError
from ulp.selection import natural, paths, processes

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users")
NOBODY = 65534


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for name in ("lp9.so", "lp10.so", "lp1.so", "note.txt", "lp2.so.0", "sub/lp11.so", "sub/deep/lp3.so"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link.so").symlink_to("lp9.so")
    (tmp_path / "broken.so").symlink_to("nowhere")
    (tmp_path / "directory.so").mkdir()
    os.mkfifo(tmp_path / "fifo.so")
    return tmp_path


def names(folder: Path, *words: str, recursive: bool = False, prefix: str = "") -> list[str]:
    found = paths([str(folder / word) for word in words], recursive=recursive, prefix=prefix)
    return [os.path.relpath(path, os.path.realpath(folder)) for path in found]


def test_a_wildcard_finds_each_file_once_in_natural_order(folder: Path) -> None:
    assert names(folder, "*.so") == ["lp1.so", "lp9.so", "lp10.so"]
    assert names(folder, "lp[19]*") == ["lp1.so", "lp9.so", "lp10.so"]
    assert names(folder, "lp?.so", "lp9.so") == ["lp1.so", "lp9.so"]


def test_patterns_are_those_of_fnmatch(folder: Path) -> None:
    for name in ("a\\b.so", ".hidden.so"):
        (folder / name).write_text("")
    assert names(folder, "lp[^1]*.so") == ["lp9.so"]
    assert names(folder, "lp[[:digit:]].s?") == ["lp1.so", "lp9.so"]
    assert names(folder, "a\\*.so") == ["a\\b.so"]
    assert names(folder, "*hidden*") == [".hidden.so"]


def test_each_file_is_named_as_in_the_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "sub/other.so").symlink_to("../lp2.so.0")
    found = paths(["lp9.so", "*1.so", "sub/*.so"])
    assert list(found.values()) == ["./lp1.so", "sub/other.so", "lp9.so", "sub/lp11.so"]
    assert [os.path.realpath(name) for name in found.values()] == list(found)


def test_links_to_directories_are_followed_once(folder: Path) -> None:
    (folder / "sub/up").symlink_to("..")
    (folder / "elsewhere").symlink_to("sub/deep")
    everything = ["lp1.so", "sub/deep/lp3.so", "lp9.so", "lp10.so", "sub/lp11.so"]
    assert names(folder, "*.so", recursive=True) == everything
    assert names(folder, "elsewhere/*.so") == ["sub/deep/lp3.so"]


def test_recursive_looks_below(folder: Path) -> None:
    everything = ["lp1.so", "sub/deep/lp3.so", "lp9.so", "lp10.so", "sub/lp11.so"]
    assert names(folder, "*.so", recursive=True) == everything
    assert names(folder, ".", recursive=True) == everything
    assert names(folder, "lp1*.so", recursive=True) == ["lp1.so", "lp10.so", "sub/lp11.so"]


def test_a_name_with_wildcard_characters_is_a_name_when_it_exists(folder: Path) -> None:
    (folder / "odd[1].so").write_text("")
    assert names(folder, "odd[1].so") == ["odd[1].so"]


def test_a_wildcard_in_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [os.path.basename(path) for path in paths(["lp1*.so"])] == ["lp1.so", "lp10.so"]


def test_a_prefix_is_looked_below_only_for_what_is_missing(folder: Path) -> None:
    assert names(folder, "lp1.so", prefix="/nonexistent") == ["lp1.so"]
    (root := folder / "root" / str(folder)[1:]).mkdir(parents=True)
    (root / "lp1.so").write_text("other")
    (root / "only.so").write_text("other")
    assert names(folder, "lp1.so", prefix=str(folder / "root")) == ["lp1.so"]
    inside = os.path.relpath(root / "only.so", folder)
    assert names(folder, "only.so", prefix=str(folder / "root") + "/") == [inside]


@pytest.mark.parametrize(
    ("word", "kind", "sentence"),
    [
        ("sub", BadDataError, "sub is a directory"),
        ("*.none", NoInputError, "no file matches "),
        ("absent/*.so", NoInputError, "there is no directory "),
        ("lp1.so/*.so", BadDataError, "lp1.so is not a directory"),
        ("*/lp1.so", UsageError, "only the last part of a path may hold a wildcard"),
    ],
)
def test_what_means_nothing_ends_in_a_sentence(
    folder: Path, word: str, kind: type[Error], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence.replace("*", ".")):
        names(folder, word)


def test_an_empty_word_is_no_directory() -> None:
    with pytest.raises(UsageError, match="empty"):
        paths([""])


def test_a_plain_name_is_left_to_its_reader(folder: Path) -> None:
    assert names(folder, "absent.so") == ["absent.so"]


@needs_root
def test_a_directory_of_somebody_else(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    code = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from ulp.selection import paths\nfrom host.errors import NotPermittedError\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"try: paths(['*.so'])\nexcept NotPermittedError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=closed, capture_output=True, text=True, timeout=20
    )
    assert done.stdout == ". may not be read by this user\n", done.stderr


@given(st.lists(st.text(alphabet="0123456789ab.", max_size=12)))
def test_natural_order_is_an_order(texts: list[str]) -> None:
    assert sorted(sorted(texts, reverse=True), key=natural) == sorted(sorted(texts), key=natural)


def test_natural_order_takes_numbers_of_any_length() -> None:
    assert sorted(["a" + "9" * 5000, "a10", "a9"], key=natural)[:2] == ["a9", "a10"]


@contextmanager
def sleeping(program: Path | str, *words: str, **options: object) -> Iterator[int]:
    with subprocess.Popen([str(program), *words], **options) as process:  # type: ignore[call-overload]
        try:
            while not Path(
                f"/proc/{process.pid}/cmdline"
            ).read_bytes():  # the kernel is still at work on execve
                time.sleep(0.001)
            yield process.pid
        finally:
            process.kill()


@pytest.fixture(name="long_name", scope="module")
def _long_name(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a name of more than the 15 characters that the kernel keeps."""
    copy = tmp_path_factory.mktemp("bin") / "a-program-whose-name-is-long"
    shutil.copy(shutil.which("sleep") or "", copy)
    return copy


def test_no_word_means_every_process() -> None:
    assert processes([]) is None


def test_a_process_is_found_by_any_of_its_names(long_name: Path) -> None:
    with sleeping(long_name, "60") as pid, sleeping(long_name, "60") as second:
        both = tuple(sorted((pid, second)))
        assert processes(["a-program-whose-name-is-long"]) == both
        assert processes(["a-program-whose*"]) == both
        assert processes(["a-program-whose"]) == both  # as the kernel knows it
        assert processes([str(pid), f"00{second}", "a-pro*"]) == both
        with pytest.raises(Error, match="no process is called 'a-program-whos'") as caught:
            processes(["a-program-whos"])
        assert caught.value.status is ExitStatus.NOTHING_MATCHED


def test_a_process_is_found_by_the_name_it_was_called_by(long_name: Path) -> None:
    with sleeping("called-otherwise", "60", executable=str(long_name)) as pid:
        assert processes(["called-other*"]) == (pid,)
        assert processes(["a-program-whose-name-is-long"]) == (pid,)


def test_a_deleted_program_keeps_its_name(long_name: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gone-program-with-a-long-name"
    shutil.copy(long_name, copy)
    with sleeping("x", "60", executable=str(copy)) as pid:
        copy.unlink()
        assert processes(["gone-program-with-a-long-name"]) == (pid,)


def test_patterns_leave_out_this_process_and_kernel_threads() -> None:
    found = processes(["*"])
    assert found and os.getpid() not in found and os.getppid() in found
    assert not any(procfs.is_kernel_thread(pid) for pid in found)


@pytest.mark.parametrize("pid", ["0", "4194305", "9" * 25, "9" * 5000])
def test_a_pid_that_is_none(pid: str) -> None:
    with pytest.raises(NoInputError, match="there is no process"):
        processes([pid])


def test_a_thread_is_no_process() -> None:
    code = (
        "import threading, time\n"
        "t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start()\n"
        "print(t.native_id, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            thread = process.stdout.readline().strip()
            with pytest.raises(NoInputError, match=f"{thread} is a thread") as caught:
                processes([thread])
            assert str(process.pid) in caught.value.hint
        finally:
            process.kill()


def test_this_process_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="this command itself"):
        processes([str(os.getpid())])


def test_a_zombie_is_a_process_to_name_but_has_no_name() -> None:
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert processes([str(zombie.pid)], readable=True) == (zombie.pid,)
        assert zombie.pid not in (processes(["*"]) or ())


def as_nobody(code: str) -> str:
    text = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"import ulp.selection\nos.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"from host.errors import Error\ntry: print({code})\nexcept Error as e: print(int(e.status), e)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20)
    return done.stdout.strip() or done.stderr


@needs_root
def test_a_process_of_somebody_else_may_be_named_but_not_read() -> None:
    assert as_nobody("ulp.selection.processes(['1'])") == "(1,)"
    sentence = "77 process 1 may not be looked at by this user"
    assert as_nobody("ulp.selection.processes(['1'], readable=True)") == sentence


@needs_root
def test_users_by_name_pattern_and_number() -> None:
    with sleeping("sleep", "60", user=NOBODY) as theirs, sleeping("sleep", "60") as ours:
        for word in ("nobody", "nobod?", str(NOBODY)):
            found = processes([], users=[word]) or ()
            assert theirs in found and ours not in found
        assert processes(["sleep", str(ours)], users=["root"]) is not None
        assert theirs not in (processes(["sleep"], users=["root"]) or ())
        assert {theirs, ours} <= set(processes(["sleep"], users=["root", "nobody"]) or ())
    with pytest.raises(NoInputError, match="there is no user 'nobdy'"):
        processes([], users=["nobdy"])
    assert processes([], users=["4000000000"]) == ()


@needs_root
@pytest.mark.parametrize(
    "call", ['selection.processes(["1"])', 'selection.processes(["init"])', "holdings.applied()"]
)
def test_no_proc(call: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from ulp import holdings, selection\nfrom host.errors import Error\n"
        f"try: {call}\nexcept Error as error: print(int(error.status), error)"
    )
    script = f"mount -t tmpfs none /proc && exec {sys.executable} -c '{code.replace(chr(39), chr(34))}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=20)
    if done.returncode:
        pytest.skip(f"no mount namespaces here: {done.stderr}")
    assert done.stdout == "69 processes cannot be looked up, /proc is not there\n"
