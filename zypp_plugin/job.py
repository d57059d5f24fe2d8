# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin hands to the worker: JSON on the worker's standard input."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any


class BadJob(ValueError):
    """Standard input is not a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageStep:
    """What zypper did to one live patch package."""

    name: str
    kind: str  # transaction.USERSPACE or KERNEL
    action: str  # "+", "-", "M"
    stage: str  # "ok", "err", "" (zypper ended before it told)
    evr: str  # what came, or for "-" what went
    before: tuple[str, ...] = ()  # EVRs that were installed when the commit began
    before_known: bool = True  # False: the rpm database could not be asked then
    cves_before: tuple[str, ...] = ()  # that the kernel live patch of the package fixed then
    containers_before: tuple[str, ...] = ()  # paths inside of the root when the commit began


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One commit's work."""

    root: str  # where the packages are; not "/" inside of a transactional update
    zypper: int  # pid, 0 if unknown
    steps: tuple[PackageStep, ...]
    channel: str = (
        ""  # address of the plugin's socket in the abstract namespace, hexadecimal; "" if nobody waits
    )
    problems: tuple[str, ...] = ()  # sentences for the report

    def encode(self) -> bytes:
        """Return the job as JSON in ASCII."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """Return the job that ``encode`` wrote; raises BadJob.

        A commit may update this package, too: fields that only the other version knows are left out.
        """
        try:
            values = json.loads(data)
            steps = tuple(PackageStep(**_known(PackageStep, step)) for step in values.pop("steps"))
            return cls(steps=steps, **_known(cls, values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadJob(f"standard input is not a job: {type(error).__name__}: {error}") from error


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    return {
        field.name: tuple(value) if isinstance(value := values[field.name], list) else value
        for field in fields(kind)
        if field.name in values
    }
