# SPDX-License-Identifier: GPL-2.0-or-later
"""All that can be computed before a process is stopped: the target, its functions, and the container in place."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ulp.arch.x86_64 import PAGE
from ulp.container import Container
from ulp.engines.direct import layout
from ulp.engines.direct import record as records
from ulp.engines.direct.functions import Function, Text, functions
from ulp.engines.direct.inject import Block, Region
from ulp.engines.direct.layout import Protection, Shape
from ulp.engines.direct.link import Linker, new_functions, relocated
from ulp.engines.direct.placement import find_place, is_near
from ulp.engines.direct.record import Description, Diversion, Record
from ulp.engines.direct.symbols import Symbols
from ulp.memory import NotAnImage, Unmapped
from ulp.process import Loading, Object, Process, scope
from ulp.result import Reason, Refusal


class Prepared(NamedTuple):
    """A container that fits: what to map, what to write into it, and which functions it diverts."""

    record: int  # address
    description: Description
    block: Block | None  # None: the container lies in the process already
    contents: tuple[tuple[int, bytes], ...]  # (address, bytes) to write when everything is mapped
    functions: tuple[Function, ...]
    objects: tuple[Object, ...]  # those that cannot be unloaded first: the program, what it was started with


@functools.lru_cache(maxsize=64)
def _shape(container: Container) -> Shape:
    return layout.shape(container)


def prepare(
    process: Process,
    container: Container,
    *,
    target: Object,
    linked: tuple[Object, ...],
    active: Sequence[Record],
    reverted: Sequence[Record],
    spare: Iterable[Record],
    refused_places: Iterable[int] = (),
) -> Prepared:
    """Compute all that a container needs in a process.

    ``active`` are the live patches in use, ``reverted`` those of them that are taken back in the same stop, ``spare``
    blocks that may be used again. Raises Refusal.
    """
    shape = _shape(container)
    try:
        wanted = functions(container, target, Text(process.memory, active))
        below = Text(process.memory, reverted)
        order = scope(linked, target, shape.elf.needed)
        symbols = Symbols(process, order)
        entries = new_functions(container, shape)

        def describe(bias: int) -> Description:
            return _describe(
                container,
                target,
                bias=bias,
                end=bias + shape.end,
                wanted=wanted,
                entries=entries,
                below=below,
            )

        def linker(bias: int) -> Linker:
            return Linker(container, shape, target=target, symbols=symbols, bias=bias)

        near = (wanted[0].address, wanted[-1].address) if wanted else (target.bias, target.bias)
        for record in spare:
            # a library that was unloaded meanwhile may have come back far away
            if not is_near(record.description.bias + shape.start, record.description.end, near=near):
                continue
            contents = relocated(shape, linker(record.description.bias).patches())
            if _holds(process, shape, record, contents):
                return Prepared(
                    record=record.address,
                    description=describe(record.description.bias),
                    block=None,
                    contents=(),
                    functions=wanted,
                    objects=order,
                )
        # the record's size follows from the description, whose size does not depend on the place
        text = records.encode_description(describe(near[0] - shape.start))
        pages = records.pages_for(
            text,
            reverted=sum(len(records.encode_description(record.description)) for record in reverted),
        )
        if 2 * len(text) > pages * PAGE:  # there must be room for the journal, too
            raise Refusal(
                Reason.UNSUPPORTED_CONTAINER, f"{len(wanted)} functions are more than a record can hold"
            )
        size = pages * PAGE + shape.end - shape.start
        place = find_place(process.mappings, size=size, near=near, refused=refused_places)
        if place is None:
            raise Refusal(Reason.NO_ROOM, f"there are no {size} free bytes within 2 GiB of {target.path}")
        bias = place + pages * PAGE - shape.start
        contents = relocated(shape, linker(bias).patches())
    except Unmapped as error:
        raise Loading from error
    except NotAnImage as error:
        raise Refusal(Reason.UNRESOLVED_SYMBOL, f"an object's tables are damaged: {error}") from error
    name = records.label(os.path.basename(container.path), pages=pages)
    block, to_write = _block(shape, name=name, place=place, pages=pages, contents=contents)
    return Prepared(
        record=place,
        description=describe(bias),
        block=block,
        contents=to_write,
        functions=wanted,
        objects=order,
    )


def _block(
    shape: Shape, *, name: bytes, place: int, pages: int, contents: tuple[tuple[int, bytes], ...]
) -> tuple[Block, tuple[tuple[int, bytes], ...]]:
    """Return what to map, and (address, bytes) of what to write into its anonymous parts."""
    bias = place + pages * PAGE - shape.start
    regions = [Region(address=place, size=pages * PAGE, protection=Protection.READ, file_offset=None)]
    in_file: list[tuple[int, bytes]] = []
    to_write: list[tuple[int, bytes]] = []
    for area in shape.areas:
        offset = None if area.anonymous else area.address - shape.file_start
        regions.append(
            Region(
                address=bias + area.address, size=area.size, protection=area.protection, file_offset=offset
            )
        )
        for address, data in contents:
            if area.address <= address < area.address + area.size:
                if area.anonymous:
                    to_write.append((bias + address, data))
                else:
                    in_file.append((address - shape.file_start, data))
    file_end = max(area.address + area.size for area in shape.areas if not area.anonymous)
    block = Block(
        name=name,
        file_size=file_end - shape.file_start,
        contents=tuple(in_file),
        regions=tuple(regions),
    )
    return block, tuple(to_write)


def _describe(
    container: Container,
    target: Object,
    *,
    bias: int,
    end: int,
    wanted: tuple[Function, ...],
    entries: dict[str, int],
    below: Text,
) -> Description:
    return Description(
        patch_id=container.patch_id,
        container=str(container.path),
        library=target.path,
        target_name=container.target_name,
        build_id=container.build_id,
        labels=tuple(container.labels),
        time=time.time(),
        bias=bias,
        end=end,
        diversions=tuple(
            Diversion(
                name=function.name,
                function=function.address,
                new=bias + entries[function.new_name],
                address=function.site.address,
                entry=function.site.entry,
                pad=function.site.pad,
                before=below.original(function.site.address, function.site.size),
                after=function.site.detour(bias + entries[function.new_name], function.original),
            )
            for function in wanted
        ),
    )


def _holds(process: Process, shape: Shape, record: Record, contents: tuple[tuple[int, bytes], ...]) -> bool:
    """Say whether a block still holds exactly this container, except for what its code may have written."""
    bias = record.description.bias
    for address, data in contents:
        area = shape.area_at(address, len(data))
        if area is None:
            return False
        if area.protection & Protection.WRITE:
            continue
        if process.memory.read_some(bias + address, len(data)) != data:
            return False
    return True
