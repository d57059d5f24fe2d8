# SPDX-License-Identifier: GPL-2.0-or-later
"""Finish a library that was built with space for libpulp's live patches.

gcc's -fpatchable-function-entry=16,14 begins each function with two nops of one byte. This makes one nop of two
bytes of them, so that libpulp can replace them while threads run. The file is replaced at once or not at all;
mode, owner and attributes stay. Done a second time it changes nothing.

Exit status: 0 when the file is in order, 65 when it is no library or program for x86_64 or was built without that
space, 66 or 77 when it cannot be read, 73 when it cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from host.errors import ExitStatus
from host.terminal import sanitize
from ulp import libpulp_status

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser


def add_arguments(parser: Parser) -> None:
    """Declare libpulp's options."""
    parser.add_argument("file", metavar="FILE", help="a library or program")
    parser.add_argument("-v", "--verbose", action="store_true", help="say how many functions were changed")
    parser.add_argument("-q", "--quiet", action="store_true", help="accepted for old scripts and ignored")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> ExitStatus:
    """Change the file where it needs it."""
    from host.files import read_regular, replace_file
    from ulp import pads
    from ulp.elf import Elf
    from ulp.library import SIZE_LIMIT

    merged = pads.merge(Elf(read_regular(options.file, limit=SIZE_LIMIT), name=options.file))
    if merged.changed:
        replace_file(options.file, merged.image)
    if options.verbose:
        others = f", {merged.others} with space of another form left as they are" if merged.others else ""
        print(
            f"{sanitize(options.file)}: {merged.changed} functions changed, {merged.done} in order{others}"
        )
    return ExitStatus.OK
