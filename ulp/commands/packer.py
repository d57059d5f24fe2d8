# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a live patch container from a shared object and its description.

The description (.dsc) names the shared object, the target library and the functions to replace. The
sections .ulp, .ulp.rev and .ulp.comments are written into the shared object, at once or not at all.
Mistakes in the description are printed on standard output in the form of gcc's errors.

Exit status: 0 when the container was made, 65 when the description or a file it names is not in order, 66
or 77 when the description cannot be read, 73 when the container cannot be written.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from host.errors import BadDataError, ExitStatus
from host.terminal import sanitize
from ulp import libpulp_status

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser


def add_arguments(parser: Parser) -> None:
    """Declare libpulp's options."""
    parser.add_argument("description", metavar="DESCRIPTION", help="the .dsc file")
    parser.add_argument(
        "-l", "--livepatch", default="", metavar="FILE", help="take this shared object instead"
    )
    parser.add_argument("-t", "--target", default="", metavar="FILE", help="take this target instead")
    parser.add_argument("-o", "--output", metavar="FILE", help="accepted for old scripts and ignored")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was resolved")
    parser.add_argument("-q", "--quiet", action="store_true", help="print mistakes only")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> ExitStatus:
    """Make the container."""
    from ulp import description, packing

    try:
        container = packing.pack(
            description.read(options.description), container=options.livepatch, target=options.target
        )
    except description.DescriptionError as error:
        for diagnostic in error.diagnostics:
            print(*map(sanitize, str(diagnostic).rstrip("\n").split("\n")), sep="\n")
        count = len(error.diagnostics)
        mistakes = f"{count} mistake{'s' if count > 1 else ''} in {options.description}"
        raise BadDataError(f"metadata file generation failed. {mistakes}, no container was made") from error
    if options.verbose:
        for unit in container.units:
            print(f"{unit.old_name} at {unit.old_address:#x} -> {unit.new_name}")
        for reference in container.references:
            print(f"{reference.patch_name} -> {reference.target_name} at {reference.target_offset:#x}")
        target = f"{container.target_name}, build-id {container.build_id.hex()}"
        print(f"{sanitize(container.path)} is a live patch for {target}")
    if not options.quiet:
        sys.stdout.flush()
        print("ulp: metadata successfully embedded into livepatch container", file=sys.stderr)
    return ExitStatus.OK
