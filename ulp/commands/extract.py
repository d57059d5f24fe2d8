# SPDX-License-Identifier: GPL-2.0-or-later
"""Write down the name, build-id and symbols of a library, so that live patches can be made without it.

The JSON that is written may stand for the library in a description of a live patch: @target.json. It is
libpulp's; its packer reads it too.

Exit status: 0 when it was written, 65 when a file is no ELF file, has no build-id, or is of another build than
the debug information, 66 or 77 when a file cannot be read, 73 when the output cannot be written.

Examples:
  ulp extract libcrypto.so.3 -d libcrypto.so.3.debug -o libcrypto.json
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from host.errors import ExitStatus
from ulp import libpulp_status

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser
    from ulp.elf import Elf


def add_arguments(parser: Parser) -> None:
    """Declare libpulp's options."""
    add = parser.add_argument
    add("file", metavar="FILE", help="a library or program")
    add(
        "-d",
        "--with-debuginfo",
        metavar="DEBUGINFO",
        help="add the symbols of this file, which was stripped off",
    )
    add("-o", "--output", default="out.json", metavar="FILE",
        help="where to write, '-' for standard output (default: %(default)s)")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="accepted for old scripts and ignored")
    add("-q", "--quiet", action="store_true", help="accepted for old scripts and ignored")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> ExitStatus:
    """Read the files and write the JSON."""
    from host.files import write_file
    from ulp.library import to_json

    debuginfo = _read(options.with_debuginfo) if options.with_debuginfo else None
    text = to_json(_read(options.file), debuginfo=debuginfo)
    if options.output == "-":
        sys.stdout.write(text.decode("ascii"))
    else:
        write_file(options.output, text)
    return ExitStatus.OK


def _read(path: str) -> Elf:
    from host.files import read_regular
    from ulp.elf import Elf
    from ulp.library import SIZE_LIMIT

    return Elf(read_regular(path, limit=SIZE_LIMIT), name=path)
