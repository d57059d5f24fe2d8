# SPDX-License-Identifier: GPL-2.0-or-later
"""Show what is in a live patch container.

Exit status: 0 when it was shown, 65 when the file is no container or a damaged one, 66 or 77 when it cannot
be read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from host.errors import BadDataError, ExitStatus
from host.terminal import sanitize
from ulp import libpulp_status

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from host.arguments import Parser
    from ulp.container import Container


def add_arguments(parser: Parser) -> None:
    """Declare libpulp's options and --json."""
    parser.add_argument("container", metavar="CONTAINER", help="the live patch container")
    parser.add_argument("-b", "--buildid", action="store_true", help="show the target's build-id only")
    parser.add_argument("--revert", action="store_true", help="show the part that is used to revert")
    parser.add_argument("--json", action="store_true", help="print JSON (schema zypp-livepatch/ulp-dump)")
    parser.add_argument("-v", "--verbose", action="store_true", help="accepted for old scripts and ignored")
    parser.add_argument("-q", "--quiet", action="store_true", help="accepted for old scripts and ignored")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> ExitStatus:
    """Read the container as a whole and print it."""
    from ulp import container

    found = container.read(options.container)
    if options.json:
        from host.json_output import write

        write("ulp-dump", as_json(found))
        return ExitStatus.OK
    if options.revert and found.elf.section(container.REVERT_SECTION) is None:
        raise BadDataError(f"{found.path}: it has no {container.REVERT_SECTION} section")
    print("\n".join(_lines(found, build_id_only=options.buildid, revert=options.revert)))
    return ExitStatus.OK


def as_json(found: Container) -> dict[str, object]:
    """The container as JSON: ids in hexadecimal, addresses as numbers, absent texts empty."""
    return {
        "path": os.path.realpath(found.path),
        "patch_id": found.patch_id.hex(),
        "target": {"name": found.target_name, "build_id": found.build_id.hex()},
        "functions": [
            {"old_name": unit.old_name, "new_name": unit.new_name, "old_address": unit.old_address}
            for unit in found.units
        ],
        "references": [
            {
                "target_name": reference.target_name,
                "patch_name": reference.patch_name,
                "target_offset": reference.target_offset,
                "patch_offset": reference.patch_offset,
                "tls": reference.tls,
            }
            for reference in found.references
        ],
        "dependencies": [dependency.hex() for dependency in found.dependencies],
        "comments": found.comments,
        "labels": list(found.labels),
    }


def _lines(found: Container, *, build_id_only: bool, revert: bool) -> Iterator[str]:
    """The text of libpulp's ``ulp dump``, which scripts parse, with the offset in the container right."""
    units, references = (() if revert else found.units), (() if revert else found.references)
    if build_id_only:
        yield found.build_id.hex()
    else:
        yield f"patch id: {found.patch_id[:20].hex()}"
        yield f"so filename: {sanitize(os.path.realpath(found.path))}"
        yield f"\n* build id: {found.build_id.hex()}"
        yield f"* name: {found.target_name}"
        yield f"* units: {len(units)}"
        for unit in units:
            yield f"\n** old_fname: {unit.old_name}"
            yield f"** new_fname: {unit.new_name}"
            yield f"** old_faddr: {unit.old_address:#x}"
    yield f"\nstatic references: {len(references)}"
    for reference in references:
        yield f"*** ref_name: {reference.patch_name}"
        yield f"*** target_offset: {reference.target_offset:x}"
        yield f"*** patch_offset: {reference.patch_offset:x}"
        yield f"*** tls variable: {'yes' if reference.tls else 'no'}\n"
    if found.comments:
        yield "* comments: "
        yield from ("\t".join(map(sanitize, line.split("\t"))) for line in found.comments.split("\n"))
