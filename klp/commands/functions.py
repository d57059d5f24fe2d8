# SPDX-License-Identifier: GPL-2.0-or-later
"""List the functions that the kernel's live patches replace.

One line for each function in each live patch: the object that it is in (vmlinux, or a module), the function, the live
patch, and whether it is in use. Where several live patches replace a function, the one that was enabled last
counts, and the others are overridden. FUNCTION,2 is the second one of that name in the object.

With names, only these functions are listed.

Exit status:
  0   the list is printed, and be it empty
  2   no live patch replaces a function with one of the names

Examples:
  klp functions
  klp functions do_exit
"""

from __future__ import annotations

from host.errors import ExitStatus
from klp.functions import PatchedFunction, State, patched_functions
from klp.model import read_patches
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_WORDS = {
    State.IN_USE: "in use",
    State.APPLYING: "being applied",
    State.REVERTING: "being taken back",
    State.NOT_LOADED: "waits for the module",
    State.DISABLED: "disabled",
    State.UNKNOWN: "unknown",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("names", nargs="*", metavar="FUNCTION", help="the name of a function")
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list."""
    patches = read_patches(options.root)
    functions = patched_functions(patches, root=options.root)
    if options.names:
        functions = tuple(function for function in functions if function.name in options.names)
    problems = [problem for patch in patches for problem in patch.problems]
    if options.json:
        from dataclasses import asdict

        from host.json_output import write

        write("klp-functions", {"functions": [asdict(each) for each in functions], "problems": problems})
    else:
        _print(functions)
        remark(problems)
    return ExitStatus.NOTHING_MATCHED if options.names and not functions else ExitStatus.OK


def _print(functions: tuple[PatchedFunction, ...]) -> None:
    from host.terminal import table, terminal_width

    if not functions:
        return
    heads = ("OBJECT", "FUNCTION", "LIVE PATCH", "STATE")
    rows = ((each.object, _name(each), each.patch, _state(each)) for each in functions)
    print(table(rows, heads=heads, width=terminal_width()), end="")


def _name(function: PatchedFunction) -> str:
    return function.name if function.position <= 1 else f"{function.name},{function.position}"


def _state(function: PatchedFunction) -> str:
    if function.state is State.OVERRIDDEN:
        return f"overridden by {function.overridden_by}"
    return _WORDS[function.state]
