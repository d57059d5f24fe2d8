# SPDX-License-Identifier: GPL-2.0-or-later
"""Say whether a file can be live patched, by which engine, and whether it is a live patch itself.

libpulp patches what was built with space for it (gcc's -fpatchable-function-entry=16,14). The direct engine
patches that and ordinary libraries and programs too, if they are dynamically linked and have a build-id. Of
a live patch container the target is told. What holds for libpulp is said on standard error, as its own tool
does it.

Exit status: 0 when the file was built with space for live patches, as libpulp's tool has it; 1 when it was
not, even if the direct engine can patch it; 65 when it is neither library nor program, 66 or 77 when it
cannot be read.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from host.errors import ExitStatus
from host.terminal import sanitize
from ulp import libpulp_status

if TYPE_CHECKING:
    import argparse

    from host.arguments import Parser
    from ulp.elf import Elf


def add_arguments(parser: Parser) -> None:
    """Declare libpulp's options and --json."""
    parser.add_argument("file", metavar="FILE", help="a library, a program or a live patch container")
    parser.add_argument("--json", action="store_true", help="print JSON (zypp-livepatch/ulp-livepatchable)")
    parser.add_argument("-v", "--verbose", action="store_true", help="accepted for old scripts and ignored")
    parser.add_argument("-q", "--quiet", action="store_true", help="answer by the exit status only")
    libpulp_status.add_option(parser)


@libpulp_status.translated(errors=1)
def run(options: argparse.Namespace) -> ExitStatus:
    """Look at the file and answer."""
    from host.files import read_regular
    from ulp import elf_constants as c
    from ulp.container import SECTION, parse
    from ulp.elf import Elf
    from ulp.library import SIZE_LIMIT
    from ulp.pads import SECTION as PADS_SECTION

    image = read_regular(options.file, limit=SIZE_LIMIT)
    elf = Elf(image, name=options.file)
    if elf.type not in {c.ET_DYN, c.ET_EXEC}:
        elf.refuse("neither a library nor a program")
    container = parse(image, path=options.file) if elf.section(SECTION) else None
    obstacle = direct_obstacle(elf)
    pads = elf.section(PADS_SECTION) is not None
    status = ExitStatus.OK if pads else ExitStatus.FAILED
    if options.quiet:
        return status
    if options.json:
        from host.json_output import write

        fields: dict[str, object] = {
            "path": os.path.realpath(options.file),
            "build_id": elf.build_id().hex(),
            "libpulp": pads,
            "direct": not obstacle,
            "direct_obstacle": obstacle,
            "container": None,
        }
        if container:
            fields["container"] = {
                "patch_id": container.patch_id.hex(),
                "target": {"name": container.target_name, "build_id": container.build_id.hex()},
                "functions": [unit.old_name for unit in container.units],
                "labels": list(container.labels),
            }
        write("ulp-livepatchable", fields)
        return status
    name = sanitize(options.file)
    answer = "livepatchable." if pads else f"not livepatchable: Missing {PADS_SECTION} section."
    print(f"ulp: file '{name}' is {answer}", file=sys.stderr)  # libpulp's answer, where and how it gives it
    direct = f"cannot patch it: {obstacle}" if obstacle else "can patch it"
    print(f"{name}: the direct engine {direct}")
    if container:
        target = f"{container.target_name}, build-id {container.build_id.hex()}"
        print(f"{name}: it is itself a live patch container, for {target}")
    return status


def direct_obstacle(elf: Elf) -> str:
    """Why the direct engine cannot patch processes that run this file; empty where it can."""
    from ulp import elf_constants as c

    if elf.machine != c.EM_X86_64:
        return "it is not for x86_64"
    interpreted = any(segment.type == c.PT_INTERP for segment in elf.segments)
    if not elf.dynamic() or (elf.tags().get(c.DT_FLAGS_1, 0) & c.DF_1_PIE and not interpreted):
        return "it is statically linked"
    if not elf.build_id():
        return "it has no build-id, by which processes are matched"
    return ""
