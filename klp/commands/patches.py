# SPDX-License-Identifier: GPL-2.0-or-later
"""List the kernel's live patches.

One name per line, whether the live patch is switched on or not.

Exit status: 0 when the list is printed, and be it empty; 1 when -v could not read the rpm database: then only what
the kernel says is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from host.errors import Error, ExitStatus
from host.terminal import sanitize
from klp import sysfs
from klp.model import KernelPatch, read_patches
from klp.output import add_common, remark
from klp.package import LivePatchPackage, find_packages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(
        parser, verbose="show if it is active, its RPM, and the CVEs and bugs that its changelog names"
    )


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list."""
    patches = read_patches(options.root)
    remarks = [problem for patch in patches for problem in patch.problems]
    if sysfs.patch_names(options.root) is None:
        remarks.append(
            f"the kernel has no live patching: {sysfs.livepatch_directory(options.root)} is missing"
        )
    status = ExitStatus.OK
    packages: Mapping[str, LivePatchPackage] = {}
    if options.verbose or options.json:
        active = [patch.name for patch in patches if patch.enabled]
        try:
            packages = find_packages(active, root=options.root)
            remarks += [f"no package owns the module {name}" for name in active if name not in packages]
        except Error as problem:
            remarks.append(f"no package and fixes are shown: {problem.sentence}")
            status = ExitStatus.FAILED
    if options.json:
        _write_json(patches, packages, remarks)
        return status
    blocks = [_lines(patch, packages.get(patch.name), verbose=options.verbose) for patch in patches]
    for number, lines in enumerate(blocks):
        if number and options.verbose:
            print()
        print(*map(sanitize, lines), sep="\n")
    remark(remarks)
    return status


def _lines(patch: KernelPatch, package: LivePatchPackage | None, *, verbose: int) -> list[str]:
    lines = [patch.name]
    if verbose and patch.enabled is not None:
        lines.append(f"    active: {int(patch.enabled)}")
    if verbose and package is not None:
        fixes = package.fixes
        initial = package.package.edition.startswith("1-") and not fixes.cves and not fixes.others
        none = "(none - this is an initial kernel live patch)" if initial else "(none)"
        lines += [
            f"    RPM: {package.package.label}",
            f"    CVE: {' '.join(fixes.cves) or none}",
            f"    bug fixes and enhancements: {' '.join(fixes.others) or '(none)'}",
        ]
    return lines


def _write_json(
    patches: Sequence[KernelPatch], packages: Mapping[str, LivePatchPackage], problems: Sequence[str]
) -> None:
    from host.json_output import write

    described = []
    for patch in patches:
        fields = asdict(patch)
        del fields["problems"]  # the list of all is below
        package = packages.get(patch.name)
        fields["package"] = package and package.package.label
        fields["cves"] = package and package.fixes.cves
        fields["other_fixes"] = package and package.fixes.others
        described.append(fields)
    write("klp-patches", {"patches": described, "problems": problems})
