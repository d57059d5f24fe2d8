# SPDX-License-Identifier: GPL-2.0-or-later
"""klp blocking as its users run it, down to the byte where scripts parse it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.documentation import contradictions
from tests.support.kernel_tree import write_patch, write_task
from tests.support.klp import klp, klp_as_nobody


@pytest.mark.parametrize(("flags", "output"), [((), ""), (("-v",), "no threads with klp_in_progress set\n")])
def test_nothing_blocks_when_ready(tmp_path: Path, flags: tuple[str, ...], output: str) -> None:
    write_patch(tmp_path, "livepatch_1")
    done = klp(*flags, "blocking", root=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    write_patch(
        tmp_path, "livepatch_1", transition=1, objects={"vmlinux": ["do_vfork,1"], "nfsd": ["serve,1"]}
    )
    write_task(tmp_path, 9, state=1)
    write_task(tmp_path, 10, state=0, does="D", command=b"evil\0\x1b]0;owned\x07\0x", stack=STACK)
    write_task(tmp_path, 20, 21, state=0, name="kworker/0:1", flags=0x200000)
    (tmp_path / "proc/kallsyms").write_text(SYMBOLS)
    return tmp_path


SYMBOLS = """\
ffffffff81000000 T do_vfork
ffffffff81000000 t __do_vfork
ffffffffc0000000 t serve\t[nfsd]
"""

STACK = """\
[<0>] do_wait+0x1/0x2
[<0>] __do_vfork+0x1/0x2
[<0>] serve+0x1/0x2 [nfsd]
"""


@pytest.mark.parametrize(
    ("flags", "output"),
    [((), "10 10\n20 21\n"), (("-v",), "10 10 evil \\x1b]0;owned\\x07 x\n20 21 [kworker/0:1]\n")],
)
def test_who_blocks_is_listed(blocked: Path, flags: tuple[str, ...], output: str) -> None:
    done = klp(*flags, "blocking", root=blocked)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_what_those_who_block_do_and_what_helps(blocked: Path) -> None:
    done = klp("-vv", "blocking", root=blocked)
    assert done.stdout == (
        "10 10 evil \\x1b]0;owned\\x07 x\n"
        "    [<0>] do_wait+0x1/0x2\n"
        "    [<0>] __do_vfork+0x1/0x2\n"
        "    [<0>] serve+0x1/0x2 [nfsd]\n"
        "    it is in __do_vfork and serve of nfsd, which livepatch_1 replaces\n"
        "    it waits for another process or a device, and no signal interrupts that: it changes over when what "
        "it waits for comes\n"
        "20 21 [kworker/0:1]\n"
        "    it is in none of the functions\n"
        "    it is a thread of the kernel: no signal reaches it, it changes over when it leaves the function\n"
    )
    assert done.stderr == (
        "klp: 'echo 0 > /sys/kernel/livepatch/livepatch_1/enabled' takes the transition back\n"
    )


def test_on_the_way_out_the_functions_of_the_live_patch_have_to_be_left(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", enabled=0, transition=1, objects={"vmlinux": ["do_vfork,1"]})
    stack = "[<0>] do_vfork+0x1/0x2\n[<0>] new_vfork+0x1/0x2 [livepatch_1]\n"
    write_task(tmp_path, 10, state=1, does="T", stack=stack)
    done = klp("-vv", "blocking", root=tmp_path)
    assert done.stdout.splitlines()[3:] == [
        "    it is in new_vfork of livepatch_1, which is being taken back",
        "    it is stopped: 'kill -CONT 10' lets it go on",
    ]
    assert done.stderr == (
        "klp: 'echo 1 > /sys/kernel/livepatch/livepatch_1/enabled' takes the transition back\n"
    )


def test_what_may_not_be_looked_at_is_counted(open_root: Path) -> None:
    write_patch(open_root, "livepatch_1", transition=1)
    (write_task(open_root, 10, state=0, command=b"sleep\x0060", stack="[<0>] f+0x1/0x2\n") / "stack").chmod(
        0
    )
    (write_task(open_root, 11, state=0) / "patch_state").chmod(0)
    done = klp_as_nobody("-vv", "blocking", root=open_root)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "10 10 sleep 60",
        "    it sleeps, and the kernel interrupts it every 15 s; 'kill -STOP 10; kill -CONT 10' does so at once",
    ]
    assert done.stderr.splitlines()[:2] == [
        "klp: 1 thread may not be looked at; run klp as root",
        "klp: it is not known which functions keep 1 of them; run klp as root",
    ]


@pytest.mark.parametrize("flag", ["-v", "-vv"])
def test_that_nobody_blocks_is_not_said_by_who_sees_nobody(open_root: Path, flag: str) -> None:
    write_patch(open_root, "livepatch_1", transition=1)
    (write_task(open_root, 10, state=0) / "patch_state").chmod(0)
    done = klp_as_nobody(flag, "blocking", root=open_root)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "klp: 1 thread may not be looked at; run klp as root\n"


def test_a_transition_that_nobody_in_proc_blocks(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", transition=1)
    write_task(tmp_path, 10, state=1)
    done = klp("blocking", root=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "livepatch_1 is in transition, but no thread in /proc blocks it: an idle processor" in done.stderr


def test_who_blocks_as_json(blocked: Path) -> None:
    answer = json.loads(klp("blocking", "--json", "-vv", root=blocked).stdout)
    assert contradictions(answer) == []
    assert answer == {
        "schema": "zypp-livepatch/klp-blocking",
        "version": 1,
        "patch": "livepatch_1",
        "unpatching": False,
        "threads": [
            {
                "pid": 10,
                "tid": 10,
                "name": "sleep",
                "command": ["evil", "\x1b]0;owned\x07", "x"],
                "state": "D",
                "kernel_thread": False,
                "stack": STACK.splitlines(),
                "inside": [
                    {"function": "__do_vfork", "object": "vmlinux"},
                    {"function": "serve", "object": "nfsd"},
                ],
            },
            {
                "pid": 20,
                "tid": 21,
                "name": "kworker/0:1",
                "command": [],
                "state": "S",
                "kernel_thread": True,
                "stack": [],
                "inside": [],
            },
        ],
        "looked_at": 3,
        "hidden": 0,
        "silent": [],
        "problems": [],
    }
    threads = json.loads(klp("blocking", "--json", root=blocked).stdout)["threads"]
    assert [(thread["stack"], thread["inside"]) for thread in threads] == [([], None)] * 2


@pytest.mark.parametrize("command", ["status", "check", "blocking", "wait"])
def test_nobody_says_ready_who_cannot_know(tmp_path: Path, command: str) -> None:
    write_patch(tmp_path, "livepatch_1", transition="nonsense")
    done = klp(command, "-vv", root=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.endswith("transition should hold a number and holds 'nonsense'\n")
