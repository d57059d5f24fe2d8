# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the running kernel has the fix for a CVE: by a live patch, in itself, or not yet.

What live patches fix is told by their RPMs, what the kernel itself has by the changelog of its package. A number that
neither names is unknown: it may not concern this kernel, or nobody has fixed it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from host.errors import BadDataError, Error, UsageError
from klp.fixes import Fixes
from klp.kernel import MODULE_FOLDERS, module_files, release
from klp.model import KernelPatch, read_patches
from klp.package import LivePatchPackage, find_owners, find_packages

# What the kernel's package has, of which at least one is a file wherever it comes from.
_KERNEL_FILES = ("vmlinuz", "Image", "image", "modules.builtin", "modules.order")
_NUMBER = re.compile(r"(?ai)CVE-[0-9]{4}-[0-9]{4,}|[a-z]+#[a-z0-9-]+")


class Reason(enum.StrEnum):
    """Why the answer is what it is."""

    LIVE_PATCH = "live-patch"
    KERNEL = "kernel"
    APPLYING = "applying"
    REVERTING = "reverting"
    NOT_IN_USE = "not-in-use"
    UNKNOWN = "unknown"


_FIXED = (Reason.LIVE_PATCH, Reason.KERNEL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is known about one number."""

    number: str
    reason: Reason
    patch: str = ""  # the live patch that fixes it
    package: str = ""  # NAME-VERSION-RELEASE.ARCH of what fixes it

    @property
    def is_fixed(self) -> bool:
        """Whether the running kernel has the fix."""
        return self.reason in _FIXED

    @property
    def is_known(self) -> bool:
        """Whether anything names the number."""
        return self.reason is not Reason.UNKNOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What is known about all, and what could not be read."""

    answers: tuple[Answer, ...]
    problems: tuple[Error, ...]


def normalize(number: str) -> str:
    """Return a CVE or bug number as changelogs write it; raises UsageError for what is none."""
    if not _NUMBER.fullmatch(number):
        raise UsageError(f"'{number}' is no number such as CVE-2025-1234 or bsc#1234567")
    return number.lower() if "#" in number else number.upper()


def look_up(numbers: Iterable[str], *, root: str = "/") -> Answers:
    """Return what is known about the numbers, each once; raises what read_patches raises."""
    wanted = list(dict.fromkeys(numbers))
    patches = read_patches(root)
    problems: list[Error] = [BadDataError(problem) for patch in patches for problem in patch.problems]
    knows_kernel = True
    try:
        installed = list(module_files(root).values())
    except Error as problem:
        installed, knows_kernel = [], False
        problems.append(problem)
    # those in use first, the newest of them first: the first one that fixes it is the answer
    in_use = [patch.name for patch in reversed(patches) if patch.enabled is not False or patch.transition]
    packages = find_packages(dict.fromkeys([*in_use, *installed]), root=root)
    known = {patch.name: patch for patch in patches}
    answers = {
        number: _by_live_patch(number, [*in_use, *installed], packages.found, known) for number in wanted
    }
    open_numbers = [number for number, answer in answers.items() if not answer.is_fixed]
    if packages.problem:
        problems.append(packages.problem)
    elif open_numbers and knows_kernel:
        by_kernel, database_problem = _by_kernel(open_numbers, root=root)
        answers.update(by_kernel)
        problems += [database_problem] if database_problem else []
    return Answers(answers=tuple(answers[number] for number in wanted), problems=tuple(problems))


def _by_live_patch(
    number: str,
    modules: Sequence[str],
    packages: dict[str, LivePatchPackage],
    patches: dict[str, KernelPatch],
) -> Answer:
    found: list[Answer] = []
    for module in modules:
        package = packages.get(module)
        if package is None or not _names(package.fixes, number):
            continue
        patch = patches.get(module)
        reason = Reason.NOT_IN_USE
        if patch is not None and (patch.enabled is None or patch.transition is None):
            reason = Reason.UNKNOWN  # what the kernel says of it could not be read
        elif patch is not None and patch.in_effect:
            reason = Reason.LIVE_PATCH
        elif patch is not None and patch.transition:
            reason = Reason.APPLYING if patch.enabled else Reason.REVERTING
        found.append(Answer(number=number, reason=reason, patch=module, package=package.package.label))
    order = [Reason.LIVE_PATCH, Reason.UNKNOWN, *Reason]  # of the two, the second may be the first
    return min(
        found,
        key=lambda each: order.index(each.reason),
        default=Answer(number=number, reason=Reason.UNKNOWN),
    )


def _names(fixes: Fixes, number: str) -> bool:
    return number in fixes.cves or number in (other.lower() for other in fixes.others)


def _by_kernel(numbers: Sequence[str], *, root: str) -> tuple[dict[str, Answer], Error | None]:
    """Return the answers for those that the changelog of the kernel's package names, and what went wrong."""
    running = release(root)
    paths = [f"/boot/{name}-{running}" for name in _KERNEL_FILES[:3]]
    paths += [f"/{folder}/{running}/{name}" for folder in MODULE_FOLDERS for name in _KERNEL_FILES]
    found: dict[str, Answer] = {}
    owners, problem = find_owners(paths, root=root)
    for owner in owners.values():
        text = "\n".join(owner.changelog)
        for number in numbers:
            if re.search(rf"(?ai)(?<![\w#-]){re.escape(number)}(?![\w-])", text):
                answer = Answer(number=number, reason=Reason.KERNEL, package=owner.package.label)
                found.setdefault(number, answer)
    return found, problem
