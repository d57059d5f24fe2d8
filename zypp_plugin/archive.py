# SPDX-License-Identifier: GPL-2.0-or-later
"""Where reports are kept: one file for each commit that had live patches in it, the newest few.

/var/lib/zypp-livepatch/reports, and where that cannot be written (a full disk) /run/zypp-livepatch/reports.
A file is named by time and worker, its content changes at once or not at all, and ``last`` leads to the
newest one. Only root may read them: they say which processes have a hole.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from host.errors import BadDataError, Error, ExitStatus, NoInputError, NotPermittedError
from zypp_plugin.report import Report, State, Worker, decode

DIRECTORIES = ("var/lib/zypp-livepatch/reports", "run/zypp-livepatch/reports")
LAST = "last"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-\d+\.json")
_LARGEST = 256 << 20  # bytes; a row takes 500


class Archive:
    """Writes one report, again and again while it grows."""

    def __init__(self, *, name: str, keep: int, root: str = "/") -> None:
        """``name`` as ``file_name`` makes it; ``keep`` is how many reports stay, this one included."""
        self._name = name
        self._keep = keep
        self._root = Path(root)
        self.path: Path | None = None  # where the report is, once it could be written

    def save(self, report: Report) -> str:
        """Write the report; returns a sentence about what went wrong, "" where it is in its usual place."""
        problem = ""
        for directory in DIRECTORIES:
            try:
                path = self._save_in(self._root / directory, report)
            except OSError as error:
                problem = problem or f"The report cannot be written to /{directory}: {error.strerror}"
                continue
            if self.path is not None and self.path != path:
                self.path.unlink(missing_ok=True)  # its disk is full now; what stands there is old
            self.path = path
            return f"{problem}; it is in /{directory} until the next boot" if problem else ""
        return problem

    def _save_in(self, directory: Path, report: Report) -> Path:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        path = directory / self._name
        fd, draft = tempfile.mkstemp(dir=directory, prefix=".draft-")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(report.encode())
                file.flush()
                os.fsync(fd)
            Path(draft).rename(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        if self.path is None:
            self._point_to(path)
            self._thin_out(directory)
        return path

    def _point_to(self, path: Path) -> None:
        link = path.with_name(f".{LAST}-{os.getpid()}")
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.rename(path.with_name(LAST))

    def _thin_out(self, directory: Path) -> None:
        for old in sorted(_names(directory), reverse=True)[self._keep :]:
            if old != self._name:
                (directory / old).unlink(missing_ok=True)


def file_name(report: Report) -> str:
    """Return the name of a report's file; names sort by time, which two commits in one second need too."""
    from datetime import UTC, datetime

    started = datetime.fromtimestamp(report.started, tz=UTC)
    return f"{started:%Y%m%dT%H%M%S.%fZ}-{report.worker.pid}.json"


def paths(*, root: str = "/") -> list[Path]:
    """Return the files of all reports, the newest first; raises NotPermittedError."""
    found: dict[str, Path] = {}
    for directory in reversed(DIRECTORIES):
        try:
            found |= {name: Path(root, directory, name) for name in _names(Path(root, directory))}
        except PermissionError as error:
            raise NotPermittedError("only root may read the reports", hint="try again with sudo") from error
    return [found[name] for name in sorted(found, reverse=True)]


def read(path: Path, *, proc: str = "/proc") -> Report:
    """Read a report; one whose worker has gone before it was done has the state INTERRUPTED.

    Raises NoInputError, NotPermittedError, BadDataError or Error.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise BadDataError(f"{path} is not a report: it has more than {_LARGEST >> 20} MiB")
        report = decode(path.read_bytes(), name=str(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoInputError(f"there is no report {path}") from error
    except PermissionError as error:
        raise NotPermittedError(f"only root may read {path}", hint="try again with sudo") from error
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}", status=ExitStatus.NO_INPUT) from error
    if report.state in (State.WAITING, State.RUNNING, State.SETTLING) and not _lives(report.worker, proc):
        return replace(report, state=State.INTERRUPTED)
    return report


def this_worker(*, proc: str = "/proc") -> Worker:
    """Return what identifies the calling process."""
    pid = os.getpid()
    return Worker(pid=pid, started=_start_time(pid, proc) or 0, boot=_boot(proc))


def _lives(worker: Worker, proc: str) -> bool:
    return worker.boot == _boot(proc) and worker.started == _start_time(worker.pid, proc)


def _boot(proc: str) -> str:
    try:
        return Path(proc, "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int, proc: str) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); None if it has gone."""
    try:
        fields = Path(proc, str(pid), "stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
