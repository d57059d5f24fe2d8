# SPDX-License-Identifier: GPL-2.0-or-later
"""The target of a container in a process, and the functions in it that are to be replaced."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Final

from ulp import elf_constants as c
from ulp.container import Container, Unit
from ulp.image import Image
from ulp.memory import NotAnImage, Unmapped
from ulp.process import Loading, Object, Process
from ulp.result import Reason, Refusal

_LONGEST: Final = 1 << 24


def find_target(process: Process, container: Container, linked: Sequence[Object]) -> Object:
    """Return the object with the container's build-id; raises Refusal naming why there is none."""
    mapped = list(process.mapped_objects())
    found = {item.bias: item for item in mapped if item.image.build_id == container.build_id}
    # what the dynamic linker knows is preferred: it has a link map. Another build may have lain there a moment ago
    found.update(
        (item.bias, item)
        for item in linked
        if item.bias in found and item.image.build_id == container.build_id
    )
    if len(found) > 1:
        raise Refusal(
            Reason.LOADED_TWICE,
            f"{container.target_name} is loaded {len(found)} times in the process: a live patch would reach one copy",
        )
    if found:
        return next(iter(found.values()))
    for item in mapped:
        names = {item.image.soname, os.path.basename(item.path.removesuffix(" (deleted)"))}
        if container.target_name in names:
            raise Refusal(
                Reason.BUILD_ID_MISMATCH,
                f"livepatch buildid mismatch for {container.target_name}: it has "
                f"{item.image.build_id.hex()}, the container is for {container.build_id.hex()}",
                library=item.path,
            )
    if not linked:
        raise Refusal(Reason.STATIC_BINARY)
    raise Refusal(Reason.NO_SUCH_LIBRARY)


def placed(unit: Unit, target: Object) -> Unit:
    """Return a unit with its address: that of the target's symbol where the container leaves it to the name.

    Raises Refusal, also for a name that stands for a choice of functions: who chooses has long chosen.
    """
    symbol = target.image.symbols.find(unit.old_name)
    if symbol is not None and symbol.type == c.STT_GNU_IFUNC:
        raise Refusal(
            Reason.FUNCTION_NOT_PATCHABLE,
            f"{unit.old_name} is a choice of functions (IFUNC) in {target.path}: the container has to name one",
        )
    if unit.old_address:
        return unit
    if symbol is None:
        raise Refusal(Reason.FUNCTION_NOT_PATCHABLE, f"{target.path} exports no function {unit.old_name}")
    return Unit(old_name=unit.old_name, new_name=unit.new_name, old_address=symbol.value)


def segment_end(unit: Unit, target: Object) -> int:
    """Return the link-time address behind the segment of code that holds a function; raises Refusal."""
    for load in target.image.loads:
        if load.flags & c.PF_X and load.address <= unit.old_address < load.address + load.file_size:
            return load.address + load.file_size
    raise Refusal(
        Reason.FUNCTION_NOT_PATCHABLE,
        f"{unit.old_name} at {unit.old_address:#x} is not in the code of {target.path}",
    )


@functools.lru_cache(maxsize=1024)  # the same in each process that runs this build
def _extent(image: Image, address: int) -> tuple[int, int] | None:
    return image.unwind.function_at(address)


def size_of(unit: Unit, target: Object) -> int:
    """Return a function's length by the unwind tables, else by the dynamic symbol; 0 if neither knows it."""
    segment_end(unit, target)
    try:
        extent = _extent(target.image, unit.old_address)
        symbol = target.image.symbols.find(unit.old_name)
    except Unmapped as error:
        raise Loading from error
    except NotAnImage as error:
        raise Refusal(Reason.FUNCTION_NOT_PATCHABLE, f"the tables of {target.path} are damaged") from error
    if extent is not None and extent[0] == unit.old_address and extent[1] <= _LONGEST:
        return extent[1]
    if symbol is not None and symbol.value == unit.old_address:
        return min(symbol.size, _LONGEST)
    if extent is not None:
        raise Refusal(
            Reason.FUNCTION_NOT_PATCHABLE,
            f"no function of {target.path} begins at {unit.old_address:#x}, where {unit.old_name} should be",
        )
    return 0
