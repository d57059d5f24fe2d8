# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker: applies what a commit installed, and reports. Started by the plugin, outlives it and zypper.

One worker at a time: a second commit's worker waits for the first one's end, and then finds what is
installed by then. Whatever happens, a report says so, in the archive, in the journal and to the plugin if it
still waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from host import config, exclusions, snapshots, sysconfig
from host.errors import Error, ExitStatus
from host.names import command
from zypp_plugin import journal
from zypp_plugin.archive import Archive, file_name, this_worker
from zypp_plugin.channel import Speaker
from zypp_plugin.job import BadJob, Job
from zypp_plugin.kernel import Kernel, read_packages, watch
from zypp_plugin.report import KernelRow, Report, State, Use
from zypp_plugin.selection import select, with_users
from zypp_plugin.summary import fold, split, summarize

if TYPE_CHECKING:
    from ulp.container import Container
    from ulp.result import Result

LOCK = "/run/zypp-livepatch/lock"
_LOCK_PATIENCE = 900.0  # seconds; a worker that takes longer hangs
_LARGEST_JOB = 16 << 20  # bytes
_SAVE_EVERY = 2.0  # seconds, while processes are patched
_IN_JOURNAL = 20  # processes that could not be patched and get a line of their own


def main() -> int:
    """Do the job on standard input; returns the exit status."""
    try:
        job = Job.decode(sys.stdin.buffer.read(_LARGEST_JOB))
    except BadJob as error:
        journal.write(f"Live patching: no process was patched: {error}", priority=journal.ERROR)
        return ExitStatus.BAD_DATA
    return Worker(job).run()


class Worker:
    """One job and the report that grows with it."""

    def __init__(self, job: Job) -> None:
        problems = list(job.problems)
        try:
            self._config = config.load()
        except Error as error:
            self._config = config.Config()
            problems.append(f"The defaults are used, because {error.sentence}")
        self._job = job
        self._speaker = Speaker(job.channel)
        self._report = Report(
            state=State.WAITING,
            started=time.time(),
            worker=this_worker(),
            zypper=job.zypper,
            root=job.root,
            problems=tuple(problems),
        )
        self._archive = Archive(name=file_name(self._report), keep=self._config.keep)
        self._kernel: Kernel | None = None
        self._exclusions = exclusions.Exclusions()
        self._next_save = 0.0

    def run(self) -> int:
        """Do all of it; returns the exit status and never raises."""
        try:
            self._save()
            with _lock():
                self._update(state=State.RUNNING)
                self._patch(*self._prepare())
                self._look_for_leftovers()
            self._watch_kernel()
            self._update(state=State.DONE)
        except Error as error:
            self._fail(f"{error.sentence} ({error.hint})" if error.hint else error.sentence)
        except Exception as error:  # a defect, or no memory: the report must say even that
            self._fail(f"This is a defect: {type(error).__name__}: {error}")
        self._update(finished=time.time())
        return self._finish()

    def _prepare(self) -> tuple[Container, ...]:
        """Find out what is installed and which containers are to be applied; raises Error."""
        levers = sysconfig.read_livepatching()
        if not os.path.isdir(self._job.root):
            raise Error(f"the snapshot {self._job.root} is gone: the update that made it was given up")
        self._exclusions = exclusions.load()
        chosen = select(
            self._job, sysconfig=levers, exclusions=self._exclusions, signatures=self._config.signature
        )
        self._kernel = read_packages(self._job, sysconfig=levers)
        self._update(
            packages=(*chosen.packages, *self._kernel.packages),
            problems=(*self._report.problems, *chosen.problems, *self._kernel.problems),
        )
        if self._job.root != "/":
            self._update(notes=(snapshots.note(self._job.root),))
            if any(each.use is Use.APPLIED for row in chosen.packages for each in row.containers):
                snapshots.remember(self._job.root)
        self._save()
        return chosen.containers

    def _patch(self, *containers: Container) -> None:
        """Apply containers to every process; raises Error."""
        if not containers:
            return
        from ulp import fleet, hidden
        from ulp.engines import Change, Consistency, EngineName, Settings

        survey = fleet.change(
            [Change(apply=container, revert_target=True) for container in containers],
            settings=Settings(
                consistency=Consistency(self._config.consistency),
                tries=self._config.tries,
                timeout=self._config.timeout,
                patch_process_one=self._config.process_one,
                # libpulp would let the process load a file that is elsewhere after the next boot
                engine=EngineName.AUTO if self._job.root == "/" else EngineName.DIRECT,
            ),
            exempt=self._exclusions.process,
            on_progress=self._progress,
        )
        if survey.unseen:
            self._update(notes=(*self._report.notes, hidden.sentence(survey.unseen)))
        results = [*survey.results, *self._process_one(containers)]
        self._update(
            processes=fold(results, targets={each.path: each.target_name for each in containers}),
            looked_at=survey.looked_at,
            unseen=len(survey.unseen),
            progress=(),
        )

    def _process_one(self, containers: tuple[Container, ...]) -> Iterator[Result]:
        """Say of process 1 that it was left out, if it uses one of the libraries: nobody else says it."""
        if self._config.process_one:
            return
        from ulp.holdings import applied
        from ulp.result import Reason, Result

        holdings, _ = applied(pids=[1], libraries=True)
        for holding in holdings:
            builds = {build: path for path, build in holding.libraries}
            for each in containers:
                library = builds.get(each.build_id.hex())
                if library is not None:
                    yield Result(
                        pid=1,
                        name=holding.name,
                        reason=Reason.PROCESS_ONE,
                        container=each.path,
                        library=library,
                    )

    def _look_for_leftovers(self) -> None:
        """Say which processes hold a live patch whose package was removed: removing reverts nothing."""
        removed = [row for row in self._report.packages if row.action == "removed" and row.containers]
        if not removed:
            return
        from ulp.holdings import applied

        holdings, _ = applied()
        users: dict[str, list[str]] = {}
        for holding in holdings:
            for patch in holding.patches:
                users.setdefault(patch.container, []).append(f"{holding.name} ({holding.pid})")
        self._update(
            packages=tuple(
                with_users(row, users, root=self._job.root) if row in removed else row
                for row in self._report.packages
            )
        )

    def _watch_kernel(self) -> None:
        """Wait for the kernel's transition; the plugin and other commits need not wait for that."""
        if self._kernel is None or not self._kernel.modules:
            return

        def tell(rows: tuple[KernelRow, ...]) -> None:
            self._update(state=State.SETTLING, kernel=rows)
            self._save()
            self._tell()

        rows = watch(
            self._kernel,
            patience=self._config.transition,
            transactional=self._job.root != "/",
            on_wait=tell,
        )
        self._update(kernel=rows)

    def _progress(self, done: int, total: int) -> None:
        self._speaker.progress(done, total)
        if time.monotonic() >= self._next_save:
            self._next_save = time.monotonic() + _SAVE_EVERY
            self._update(progress=(done, total))
            self._save()

    def _update(self, **fields: object) -> None:
        self._report = replace(self._report, **fields)  # type: ignore[arg-type]  # Report's

    def _fail(self, problem: str) -> None:
        self._update(state=State.FAILED, problems=(problem, *self._report.problems))

    def _save(self) -> None:
        """Write the report; what goes wrong is the report's last problem, until it goes right."""
        problem = self._archive.save(replace(self._report, summary=summarize(self._report)[0]))
        if problem and problem not in self._report.problems:
            self._update(problems=(*self._report.problems, problem))
            self._archive.save(replace(self._report, summary=summarize(self._report)[0]))

    def _tell(self) -> str:
        summary, mood = summarize(self._report)
        line = f"Live patching: {summary}"
        if mood != "good":
            line += "; see 'zypper livepatch report'"
        self._speaker.finish(line=line, mood=mood)
        return mood

    def _finish(self) -> int:
        """Write the report, the journal and the plugin's line; returns the exit status."""
        self._save()
        mood = self._tell()
        fixed, failed, left_out = split(self._report.processes)
        journal.write(
            f"Live patching: {summarize(self._report)[0]}",
            priority={"good": journal.INFO, "partly": journal.WARNING}.get(mood, journal.ERROR),
            fields={
                "ZYPP_LIVEPATCH_REPORT": str(self._archive.path or ""),
                "ZYPP_LIVEPATCH_STATE": self._report.state,
                "ZYPP_LIVEPATCH_PACKAGES": " ".join(row.name for row in self._report.packages),
                "ZYPP_LIVEPATCH_FIXED": str(len(fixed)),
                "ZYPP_LIVEPATCH_FAILED": str(len(failed)),
                "ZYPP_LIVEPATCH_LEFT_OUT": str(len(left_out)),
            },
        )
        for row in failed[:_IN_JOURNAL]:
            keeps = f"{row.name} ({row.pid}) keeps the old functions of {row.library}: {row.sentence}"
            journal.write(f"Live patching: {keeps}", priority=journal.WARNING)
        return 1 if mood == "bad" else 0


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Be the only worker; raises Error if that takes too long or cannot be."""
    try:
        os.makedirs(os.path.dirname(LOCK), mode=0o755, exist_ok=True)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Error(f"{LOCK} cannot be used: {error.strerror}") from error
    try:
        until = time.monotonic() + _LOCK_PATIENCE
        while not _try_lock(lock):
            if time.monotonic() > until:
                raise Error(
                    f"an earlier commit's live patching has not ended for {_LOCK_PATIENCE:.0f} s",
                    hint=f"'fuser {LOCK}' shows its process; "
                    f"'{command('ulp trigger')}' applies the containers by hand",
                    status=ExitStatus.BUSY,
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
