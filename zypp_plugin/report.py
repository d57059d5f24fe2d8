# SPDX-License-Identifier: GPL-2.0-or-later
"""What a commit's live patching came to: the record that is written as JSON and shown to people.

The file is the envelope of host/json_output.py around the fields of ``Report``: texts, numbers, booleans,
null, and lists and objects of them, under the names that the classes here give them. Times are seconds since
the epoch, durations are seconds.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from host.errors import BadDataError
from host.json_output import document, dumps

SCHEMA = "report"
VERSION = 1


class State(enum.StrEnum):
    """How far the work is."""

    WAITING = "waiting"  # for the work of an earlier commit
    RUNNING = "running"
    SETTLING = "settling"  # user space is done, the kernel is in transition
    DONE = "done"
    FAILED = "failed"  # ended before its time; ``problems`` say why
    INTERRUPTED = "interrupted"  # never written: what a reader finds when the worker has gone


class Use(enum.StrEnum):
    """What became of a container."""

    APPLIED = "applied"  # offered to every process
    SUPERSEDED = "superseded"  # the package has a higher live patch for the same library build
    REFUSED = "refused"  # damaged, hostile, or not what the package put there
    LEFT_OUT = "left-out"  # by configuration
    REMOVED = "removed"  # the file is gone, what it patched stays patched


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerRow:
    """A live patch container of a package."""

    path: str
    use: Use
    target: str = ""  # basename of the library it is for
    build_id: str = ""  # of that library, hexadecimal
    labels: tuple[str, ...] = ()  # CVE and bug numbers
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageRow:
    """A live patch package of the commit."""

    name: str
    kind: str  # "userspace", "kernel"
    action: str  # installed, updated, downgraded, reinstalled, removed, failed
    evr: str
    before: tuple[str, ...] = ()
    containers: tuple[ContainerRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRow:
    """One process that uses one of the libraries, and what came of it."""

    pid: int
    name: str
    library: str
    outcome: str  # SUCCESS, SKIPPED, ERROR
    reason: str  # a word of ulp.result.Reason
    sentence: str
    container: str = ""
    reverted: tuple[str, ...] = ()
    pause: float | None = None
    threads: int = 0
    busy: tuple[str, ...] = ()  # "function (thread)": calls that finish in old code
    engine: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelRow:
    """A kernel live patch that the commit brought."""

    package: str
    patch: str  # name of the module
    state: str  # in-effect, in-transition, disabled, not-loaded, other-kernel, left-out, removed
    sentence: str
    blocking: tuple[str, ...] = ()  # "name (pid)": what the transition waits for
    cves: tuple[
        str, ...
    ] = ()  # that this version of the package fixes and the one before did not, newest first
    seconds: float | None = None  # that the transition took, where the kernel's log tells


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """The process that does the work, so that a reader can tell whether it lives."""

    pid: int
    started: int  # clock ticks since boot, /proc/PID/stat field 22
    boot: str  # /proc/sys/kernel/random/boot_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The whole of it."""

    state: State
    started: float
    finished: float | None = None
    worker: Worker
    zypper: int = 0  # pid
    root: str = "/"
    packages: tuple[PackageRow, ...] = ()
    processes: tuple[ProcessRow, ...] = ()
    kernel: tuple[KernelRow, ...] = ()
    looked_at: int = 0  # processes
    unseen: int = 0  # processes that could not be looked at
    progress: tuple[int, ...] = ()  # done, total, while running
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what is to be known, and is as it should be
    summary: str = ""

    def encode(self) -> str:
        """Return the report as JSON."""
        return dumps(document(SCHEMA, dataclasses.asdict(self), version=VERSION), indent=1) + "\n"


def decode(text: str | bytes, *, name: str) -> Report:
    """Return what ``encode`` wrote; raises BadDataError with the file's name for anything else."""
    import json

    try:
        fields = json.loads(text)
        schema, version = fields.pop("schema"), fields.pop("version")
        if schema != f"zypp-livepatch/{SCHEMA}" or not isinstance(version, int):
            raise ValueError("it has another schema")
        if version != VERSION:
            raise ValueError(f"it has version {version}, only {VERSION} is known")
        report = _build(Report, fields)
        assert isinstance(report, Report)
        return report
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadDataError(
            f"{name} is not a report: {error}",
            hint="'zypper livepatch report --last 2' shows the one before",
        ) from error


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _build(kind: Any, value: Any) -> Any:
    """Return the value as the type says; raises ValueError or TypeError where it is not of that type."""
    if dataclasses.is_dataclass(kind):
        known = _hints(typing.cast(type, kind))
        if not isinstance(value, dict):
            raise TypeError(f"{value!r:.40} is not an object")
        # A later version may add fields without changing the version: they are left out.
        return typing.cast(type, kind)(
            **{key: _build(known[key], item) for key, item in value.items() if key in known}
        )
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r:.40} is not a list")
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _build(typing.get_args(kind)[0], value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is not of type {kind.__name__}")
    return value
