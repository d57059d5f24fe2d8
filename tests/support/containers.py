# SPDX-License-Identifier: GPL-2.0-or-later
"""Libraries and live patch containers, built from C source with gcc and our packer.

A test that patches something needs three lines::

    library = build_library(tmp_path, "int answer(void) { return 1; }", name="libanswer.so.0")
    container = build_container(
        tmp_path, "int new_answer(void) { return 2; }", target=library, functions={"answer": "new_answer"}
    )
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

# Each function stays a function of its own: the same code twice is not merged, nothing is inlined or cloned.
_COMMON = ("-O2", "-Wall", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-Wl,--hash-style=both")
_APART = ("-fno-inline", "-fno-ipa-icf", "-fno-ipa-cp", "-fno-ipa-sra", "-fno-ipa-pure-const", "-fno-ipa-ra")
PADS = (
    "-fpatchable-function-entry=16,14"  # 14 nops before the entry of each function and 2 at it, for libpulp
)


def build_library(
    tmp_path: Path,
    source: str,
    *,
    name: str = "libtarget.so.0",
    pads: bool = False,
    endbr: bool = False,
    flags: Iterable[str] = (),
) -> Path:
    """Build a shared library, also its soname, and return its path.

    ``pads`` makes space for libpulp's detours, ``endbr`` lets each function begin with endbr64. ``flags``
    are for gcc, added last: ``-lfoo``, paths of other libraries, ``-Wl,--version-script=...``, ``-s``.
    """
    chosen = [
        *_COMMON,
        *_APART,
        "-fcf-protection=full" if endbr else "-fcf-protection=none",
        f"-Wl,-soname,{name}",
    ]
    if pads:
        chosen.append(PADS)
    return _compile(tmp_path, source, name=name, flags=[*chosen, *flags])


def build_container(
    tmp_path: Path,
    source: str,
    *,
    target: Path,
    functions: Mapping[str, str] | None = None,
    references: Iterable[str] = (),
    comments: str = "",
    name: str = "livepatch1.so",
    flags: Iterable[str] = (),
) -> Path:
    """Build a live patch container for a library or program and return its path; a ``.dsc`` stays beside it.

    ``functions`` maps old names to new ones. ``references`` are written as in a description without its
    ``#``: ``variable:pointer``, or ``%variable:index`` for a thread-local variable and a 16-byte place.
    ``flags`` are for gcc; the target's path among them links against it.
    """
    from ulp import description, packing

    path = _compile(tmp_path, source, name=name, flags=[*_COMMON, f"-Wl,-soname,{name}", *flags])
    text = "".join(f"!{line}\n" for line in comments.splitlines())
    text += f"{path}\n@{target}\n"
    text += "".join(f"{old}:{new}\n" for old, new in (functions or {}).items())
    text += "".join(f"#{reference}\n" for reference in references)
    described = path.with_name(f"{name}.dsc")
    described.write_text(text)
    packing.pack(description.read(str(described)))
    return path


def _compile(tmp_path: Path, source: str, *, name: str, flags: Iterable[str]) -> Path:
    path = tmp_path / name
    code = tmp_path / f"{name}.c"
    code.write_text(source)
    done = subprocess.run(
        ["gcc", "-o", path, code, *flags],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"gcc does not compile {name}:\n{done.stderr}")
    return path
