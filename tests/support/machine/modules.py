# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel live patch modules, built for one of the ``kernels`` and kept in the user's cache directory.

One that is kept is known by all that it is made from: source, kernel, compiler. To build one takes 0.7 s of CPU time.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import kernels
from tests.support.machine.kernels import Kernel

SOURCE = Path(__file__).with_name("livepatch.c")
_RELEASE = "150600.2.1"  # of SUSE's packages, and so in the names of its modules
# Settings of Debian's compiler that an older one does not have: the flag that comes with each.
_UNUSED = 60 * 86400  # seconds after which one is not kept any more
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

    Raises Unavailable, and AssertionError with what the compiler says.
    """
    cache = kernels.cache("modules")
    lacking = [f"{setting}=" for setting, flag in _FLAGS.items() if not _accepts(flag)]
    # neither symbols for debuggers nor types for BPF: they are most of what takes time
    options = ["CC=gcc", "KCFLAGS=-g0", "CONFIG_DEBUG_INFO_BTF_MODULES=", *lacking]
    world = _identity(kernel, options)
    kept = {patch: cache / hashlib.sha256(world + repr(patch).encode()).hexdigest() for patch in patches}
    missing = [patch for patch, file in kept.items() if not _take(file, into / f"{patch.file_name}.ko")]
    if missing:
        _compile(missing, options, kernel=kernel, into=into)
    for patch in missing:
        _keep(into / f"{patch.file_name}.ko", kept[patch])
    return {patch.name: into / f"{patch.file_name}.ko" for patch in patches}


def _compile(patches: Sequence[Livepatch], options: Sequence[str], *, kernel: Kernel, into: Path) -> None:
    for patch in patches:
        macros = [*patch.macros, f"REPLACE {str(patch.replace).lower()}"]
        text = [*(f"#define {macro}" for macro in macros), f'#include "{SOURCE}"', ""]
        (into / f"{patch.file_name}.c").write_text("\n".join(text))
    (into / "Makefile").write_text(f"obj-m := {' '.join(f'{patch.file_name}.o' for patch in patches)}\n")
    words = [
        "make",
        "--silent",
        "--jobs=2",
        f"--directory={kernel.headers}",
        f"M={into}",
        "modules",
        *options,
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _identity(kernel: Kernel, options: Sequence[str]) -> bytes:
    """Return what tells apart all that modules are made from, beside what is theirs."""
    made_by = subprocess.run(["gcc", "-v"], capture_output=True, check=True).stderr
    parts = [
        Path(__file__).read_bytes(),
        SOURCE.read_bytes(),
        made_by,
        repr((kernel.release, options)).encode(),
    ]
    parts += [(kernel.headers / name).read_bytes() for name in (".config", "Module.symvers")]
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def _take(kept: Path, file: Path) -> bool:
    """Copy a module that was kept; says whether there was one."""
    try:
        shutil.copyfile(kept, file)
        os.utime(kept)
    except OSError:
        file.unlink(missing_ok=True)
        return False
    return True


def _keep(file: Path, kept: Path) -> None:
    """Keep a module, whole or not at all, and let go of those that nobody has used for long."""
    draft = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        shutil.copyfile(file, draft)
        draft.rename(kept)
        for other in kept.parent.iterdir():
            if other.stat().st_mtime < time.time() - _UNUSED:
                other.unlink()
    except OSError:  # no room, or another run that does the same: the module itself is there
        draft.unlink(missing_ok=True)


@functools.cache
def _accepts(flag: str) -> bool:
    words = ["gcc", flag, "-x", "c", "-c", "-o", "/dev/null", "/dev/null"]
    return subprocess.run(words, capture_output=True).returncode == 0
