# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patch modules, built for one of the ``kernels``."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine.kernels import Kernel

SOURCE = Path(__file__).with_name("livepatch.c")
_RELEASE = "150600.2.1"  # of SUSE's packages, and so in the names of its modules
# Settings of Debian's compiler that an older one does not have: the flag that comes with each.
_FLAGS = {"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT": "-fmin-function-alignment=16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Livepatch:
    """A live patch module and its package.

    ``macros`` are those of livepatch.c: what is replaced.
    """

    version: int  # which one of its kernel's live patches it is
    macros: tuple[str, ...]
    replace: bool = False  # as all of SUSE's do

    @property
    def file_name(self) -> str:
        """As SUSE's modules are called, without the suffix."""
        return f"livepatch-{self.version}-{_RELEASE.replace('.', '_')}"

    @property
    def name(self) -> str:
        """How the kernel calls it."""
        return self.file_name.replace("-", "_")

    @property
    def release(self) -> str:
        """Of the package."""
        return _RELEASE


def build(patches: Sequence[Livepatch], *, kernel: Kernel, into: Path) -> dict[str, Path]:
    """Build modules in an empty directory; returns their files by the kernel's names for them.

    Raises AssertionError with what the compiler says.
    """
    for patch in patches:
        macros = [*patch.macros, f"REPLACE {str(patch.replace).lower()}"]
        text = [*(f"#define {macro}" for macro in macros), f'#include "{SOURCE}"', ""]
        (into / f"{patch.file_name}.c").write_text("\n".join(text))
    (into / "Makefile").write_text(f"obj-m := {' '.join(f'{patch.file_name}.o' for patch in patches)}\n")
    lacking = [setting for setting, flag in _FLAGS.items() if not _accepts(flag)]
    done = subprocess.run(
        ["make", "--silent", "--jobs=2", f"--directory={kernel.headers}", f"M={into}", "modules"]
        # neither symbols for debuggers nor types for BPF: they are most of what takes time
        + ["CC=gcc", "KCFLAGS=-g0", "CONFIG_DEBUG_INFO_BTF_MODULES="]
        + [f"{setting}=" for setting in lacking],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {patch.name: into / f"{patch.file_name}.ko" for patch in patches}


@functools.cache
def _accepts(flag: str) -> bool:
    words = ["gcc", flag, "-x", "c", "-c", "-o", "/dev/null", "/dev/null"]
    return subprocess.run(words, capture_output=True).returncode == 0
