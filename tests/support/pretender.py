# SPDX-License-Identifier: GPL-2.0-or-later
"""A library that shows tools what libpulp.so.0 shows them, with any state in it: truthful, old, damaged or hostile.

It does nothing. What it pretends is C source of our own, made after ulp/engines/pulp/abi.py's sources, so that
reading is tested on machines without libpulp and for states that a real libpulp does not get into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.targets import compiled

NAME = "libpulp.so.0"
_SOURCE = """
#include <string.h>
#include <stdint.h>
typedef uint64_t word;
struct unit { word patched, target; char overwritten[14], jump; struct unit *next; };
struct patch {
    unsigned char id[32];
    const char *library, *container;
    struct unit *units;
    struct patch *next;
    void *dependencies;
    word time;
};
struct state { char loaded; struct patch *newest; };
__attribute__((used)) static char endless[] = {[0 ... 9999] = 'e'};

__asm__(".text\\n"
    ".irp name, trigger, revert_all, check_patched, get_global_universe, enable_or_disable_patching\\n"
    ".global __ulp_\\\\name\\n.type __ulp_\\\\name, @function\\n"
    "__ulp_\\\\name: nop\\nnop\\ncall 1f\\nint3\\n1: xorl %eax, %eax\\nret\\n"
    ".size __ulp_\\\\name, . - __ulp_\\\\name\\n"
    ".endr\\n");
char __ulp_metadata_buffer[512 * 1024];
struct { char buffer[2 * 1024 * 1024]; int top, bottom, distance; } __ulp_msg_queue;
struct { int version, count, size, padding; char buffer[2 * 1024 * 1024]; } __ulp_insn_queue = {1};
"""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A function of a pretended live patch: C expressions of addresses."""

    old: str = "0x1000"
    new: str = "0x2000"


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A pretended live patch; a C expression may take the place of each pointer."""

    id: bytes = b"\1" * 32
    library: str = '"libtarget.so.0"'
    container: str = '"/usr/lib64/lp/livepatch1.so"'
    units: Sequence[Unit] = (Unit(),)
    units_end: str = "0"  # where the last unit leads; &unit_P_U is unit U of patch P
    time: int = 1795222864  # what stands behind the structure of libpulp before 0.3.1
    next: str = ""  # the following patch, where it is not the next one in the list; &patch_P


def pretended(
    *patches: Patch,
    version: str | None = "0.3.17",
    loaded: bool = True,
    error: int | None = 0,
    newest: str = "",
    ring: bytes = b"",
    bottom: int = 0,
    distance: int | None = None,
    name: str = NAME,
    flags: Sequence[str] = (),
    functions: Sequence[str] = (),
    libraries: Sequence[Path] = (),
) -> Path:
    """Build a library that holds these live patches, newest first, and return it.

    ``ring`` lies in the message ring from its byte ``bottom`` on, around its end. ``version`` and ``error`` None
    leave out their symbols. ``functions`` are those of ``libraries`` whose addresses a unit can give as &name.
    """
    lines = [_SOURCE, *(f"extern char {function}[];" for function in functions)]
    if version is not None:
        lines.append(f'const char __ulp_version[] = "{version}";')
    if error is not None:
        lines.append(f"int __ulp_error_state = {error};")
    lines += [f"static struct patch patch_{number};" for number in range(len(patches))]
    for number, patch in enumerate(patches):
        lines += _patch(number, patch, last=number == len(patches) - 1)
    newest = newest or ("&patch_0" if patches else "0")
    lines.append(f"struct state __ulp_state = {{{int(loaded)}, (void *){newest}}};")
    size = len(ring) if distance is None else distance
    if ring or size or bottom:
        lines.append(_ring(ring, bottom, size))
    words = ("-fPIC", "-shared", f"-Wl,-soname,{NAME},--build-id", *flags)
    return compiled("\n".join(lines), *words, name=name, libraries=libraries)


def _patch(number: int, patch: Patch, *, last: bool) -> list[str]:
    lines = [f"static struct unit unit_{number}_{place};" for place in range(len(patch.units))]
    for place, unit in enumerate(patch.units):
        following = patch.units_end if place == len(patch.units) - 1 else f"&unit_{number}_{place + 1}"
        lines.append(
            f"static struct unit unit_{number}_{place} = "
            f"{{(word){unit.old}, (word){unit.new}, {{0}}, 0, (void *){following}}};"
        )
    first = f"&unit_{number}_0" if patch.units else "0"
    following = patch.next or ("0" if last else f"&patch_{number + 1}")
    lines.append(
        f"static struct patch patch_{number} = {{{{{', '.join(map(str, patch.id))}}}, (void *){patch.library}, "
        f"(void *){patch.container}, {first}, (void *){following}, 0, {patch.time}ull}};"
    )
    return lines


def _ring(ring: bytes, bottom: int, distance: int) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in ring)
    return f"""
static const char messages[] = "{octal}";
__attribute__((constructor)) static void say(void) {{
    const int size = sizeof __ulp_msg_queue.buffer;
    for (int n = 0; n < {len(ring)}; n++) __ulp_msg_queue.buffer[((unsigned){bottom} + n) % size] = messages[n];
    __ulp_msg_queue.bottom = {bottom};
    __ulp_msg_queue.distance = {distance};
    __ulp_msg_queue.top = (int)(({bottom}ll + {distance}ll) % size);
}}"""
