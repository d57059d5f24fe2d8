# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

from tests.support.kernel_tree import write_loaded, write_module, write_patch, write_task


def test_the_files_are_those_of_a_kernel(tmp_path: Path) -> None:
    write_patch(tmp_path, "livepatch_1", objects={"vmlinux": ["f,1"]}, stack_order=1)
    write_task(tmp_path, 10, 11, state=-1, stack="[<0>] f\n")
    write_module(tmp_path, "6.4.0-1-default", "livepatch-1.ko")
    write_loaded(tmp_path, "livepatch_1", "livepatch_0 0", "forced 2 other,")
    files = {
        str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert files == {
        "sys/kernel/livepatch/livepatch_1/enabled": "1\n",
        "sys/kernel/livepatch/livepatch_1/transition": "0\n",
        "sys/kernel/livepatch/livepatch_1/stack_order": "1\n",
        "sys/kernel/livepatch/livepatch_1/vmlinux/patched": "1\n",
        "proc/10/cmdline": "",
        "proc/10/task/11/comm": "sleep\n",
        "proc/10/task/11/patch_state": "-1\n",
        "proc/10/task/11/stack": "[<0>] f\n",
        "proc/10/task/11/stat": "11 (sleep) S 1 1 1 0 -1 4194304 1 0 0 0 0 0\n",
        "proc/modules": "livepatch_1 16384 1 - Live 0x0000000000000000 (OEK)\n"
        "livepatch_0 16384 0 - Live 0x0000000000000000 (OEK)\n"
        "forced 16384 2 other, Live 0x0000000000000000 (OEK)\n",
        "proc/sys/kernel/osrelease": "6.4.0-1-default\n",
        "lib/modules/6.4.0-1-default/livepatch/livepatch-1.ko": "",
    }
    assert (tmp_path / "sys/kernel/livepatch/livepatch_1/vmlinux/f,1").is_dir()
