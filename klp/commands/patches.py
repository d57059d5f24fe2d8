# SPDX-License-Identifier: GPL-2.0-or-later
"""List the kernel's live patches.

One name per line, whether the live patch is switched on or not.

What is fixed comes from the file that an RPM ships in /usr/share/livepatch/info, or else from its changelog in the rpm
database.

Exit status: 0 when the list is printed, and be it empty; 1 when -v could not read the rpm database: then what it
would tell is missing.

Examples:
  klp patches -v
  klp patches --json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from host.clock import today
from host.errors import ExitStatus
from host.terminal import sanitize
from klp import sysfs
from klp.loaded import LoadedModule, unused_modules
from klp.model import KernelPatch, read_patches
from klp.output import add_common, remark
from klp.package import LivePatchPackage, find_packages
from klp.supply import Supply, read_supply

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime


@dataclass(kw_only=True, slots=True)
class _Details:
    """What is known beside what the kernel says of its live patches."""

    packages: dict[str, LivePatchPackage] = field(default_factory=dict)
    supply: Supply = field(default_factory=Supply)
    unused: Sequence[LoadedModule] = ()
    problems: list[str] = field(default_factory=list)
    status: ExitStatus = ExitStatus.OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(
        parser,
        verbose="show if it is active, its RPM, and the CVEs and bugs that are fixed; -vv: and until when it is "
        "maintained, whether there is an update, and modules that are loaded but not in use",
    )


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the list."""
    patches = read_patches(options.root)
    level = max(options.verbose, 2 if options.json else 0)
    details = _find_details(patches, level=level, root=options.root)
    if options.json:
        _write_json(patches, details)
        return details.status
    blocks = [_lines(patch, details, level=level) for patch in patches]
    blocks += [_unused_lines(module) for module in details.unused]
    for number, lines in enumerate(blocks):
        if number and level:
            print()
        print(*map(sanitize, lines), sep="\n")
    remark(details.problems)
    return details.status


def _find_details(patches: Sequence[KernelPatch], *, level: int, root: str) -> _Details:
    details = _Details(problems=[problem for patch in patches for problem in patch.problems])
    if sysfs.patch_names(root) is None:
        details.problems.append(
            f"the kernel has no live patching: {sysfs.livepatch_directory(root)} is missing"
        )
    if not level:
        return details
    active = [patch.name for patch in patches if patch.enabled]
    answer = find_packages(active, root=root)
    details.packages = answer.found
    if answer.problem:
        details.problems.append(f"not all packages and fixes are shown: {answer.problem.sentence}")
        details.status = ExitStatus.FAILED
    else:
        details.problems += [
            f"no package owns the module {name}" for name in active if name not in answer.found
        ]
    if level > 1:
        if answer.found:
            details.supply = read_supply([each.package for each in answer.found.values()], root=root)
            details.problems += details.supply.problems
        details.unused = unused_modules([patch.name for patch in patches], root)
    return details


def _lines(patch: KernelPatch, details: _Details, *, level: int) -> list[str]:
    lines = [patch.name]
    if level and patch.enabled is not None:
        lines.append(f"    active: {int(patch.enabled)}")
    found = details.packages.get(patch.name)
    if found is not None:
        none = "(none - this is an initial kernel live patch)" if found.is_initial else "(none)"
        lines += [
            f"    RPM: {found.package.label}",
            f"    CVE: {' '.join(found.fixes.cves) or none}",
            f"    bug fixes and enhancements: {' '.join(found.fixes.others) or '(none)'}",
        ]
        if level > 1:
            lines.append(f"    expires: {_expiry(details.supply.ends.get(found.package.name))}")
            lines.append(f"    update: {_update(found, details.supply)}")
    return lines


def _expiry(end: datetime.date | None) -> str:
    if end is None:
        return "(unknown)"
    return f"{end} (no longer maintained)" if end <= today() else str(end)


def _update(found: LivePatchPackage, supply: Supply) -> str:
    update = supply.updates.get(found.package.name)
    if update:
        return f"{update.edition} ({update.repository})"
    return "(none)" if supply.repositories else "(unknown)"


def _unused_lines(module: LoadedModule) -> list[str]:
    why = (
        "pinned until the next boot, its transition was forced"
        if module.pinned
        else "loaded, but not in use"
    )
    return [module.name, "    active: 0", f"    module: {why}"]


def _write_json(patches: Sequence[KernelPatch], details: _Details) -> None:
    from host.json_output import write

    described = []
    for patch in patches:
        fields = asdict(patch)
        del fields["problems"]  # the list of all is below
        found = details.packages.get(patch.name)
        end = details.supply.ends.get(found.package.name) if found else None
        fields["package"] = found and found.package.label
        fields["cves"] = found and found.fixes.cves
        fields["other_fixes"] = found and found.fixes.others
        fields["expires"] = end and end.isoformat()
        update = details.supply.updates.get(found.package.name) if found else None
        fields["update"] = asdict(update) if update else None
        described.append(fields)
    unused = [{"name": module.name, "pinned": module.pinned} for module in details.unused]
    write("klp-patches", {"patches": described, "unused_modules": unused, "problems": details.problems})
