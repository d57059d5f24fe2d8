# SPDX-License-Identifier: GPL-2.0-or-later
"""One commit of zypper, from COMMITBEGIN to PLUGINEND: what it installs, the hand-off, and the wait.

The work starts at COMMITEND. The wait is at PLUGINEND, the last frame: by then other plugins have had their
turn and libzypp has rebuilt its caches, which takes no longer for our work going on beside it, and all that
zypper and the packages have to say stands on the screen. libzypp gives a plugin 30 seconds for each answer.
"""

from __future__ import annotations

import os

from zypp_plugin import transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from host.config import Config
    from zypp_plugin.channel import Listener
    from zypp_plugin.transaction import Step

_REPORT = "'zypper livepatch report' shows the result"
_UNFINISHED = {  # what Listener.wait says: the line, its mood
    "working": (f"Live patching: goes on in the background; {_REPORT}", "partly"),
    "died": ("Live patching: the worker was ended before it was done; see 'zypper livepatch report'", "bad"),
    "missing": ("Live patching: the worker has not started; see /var/log/zypper.log and the journal", "bad"),
    "alone": ("", ""),
}
_OURS = "zypp-livepatch"  # what the names of our own packages begin with
_QUICK = 0.5  # seconds; what takes no longer needs no progress


class Commit:
    """Follows one commit."""

    def __init__(self, *, zypper_input: int, say: Callable[[str], None]) -> None:
        self._zypper_input = zypper_input  # the pipe from zypper; its end is the end of zypper
        self._say = say
        self._root, self._outside = _roots()
        self._steps: list[Step] = []  # as of COMMITBEGIN
        self._kinds: dict[str, str] = {}  # of the live patch packages, as of COMMITBEGIN
        self._versions: dict[str, list[str]] = {}
        self._cves: dict[str, list[str]] = {}
        self._containers: dict[str, list[str]] = {}
        self._problem = ""  # why there are no versions
        self._open = False  # COMMITBEGIN has come, COMMITEND has not
        self._listener: Listener | None = None
        self._config: Config | None = None
        self._started = 0.0
        self._last_words: tuple[str, str] = ("", "")

    def begin(self, body: bytes) -> None:
        """Remember what zypper is about to do; ask what is installed only where a live patch is concerned.

        Raises BadBody, as ``end`` does.
        """
        self._steps = transaction.parse_steps(body)
        self._open = True
        if any(step.name.startswith(_OURS) for step in self._steps):
            _load_all()
        self._kinds = self._classify(self._steps)
        if not self._kinds:
            return
        from ulp.installed import containers_of
        from zypp_plugin.lookup import look_up

        self._versions, self._cves, self._problem = look_up(list(self._kinds), root=self._root)
        for name, kind in self._kinds.items():
            if kind == transaction.USERSPACE:
                self._containers[name] = sorted(containers_of(name, root=self._root))

    def end(self, body: bytes) -> None:
        """Hand what zypper did to a worker, if it concerns us."""
        steps = transaction.parse_steps(body)
        self._open = False
        self._hand_over(steps)

    def finish(self) -> None:
        """Wait for the worker as long as the configuration allows, and tell the person at the terminal.

        Does without COMMITEND where it did not come: zypper failed, or was killed in the middle.
        """
        if self._open:
            self._open = False
            self._hand_over(self._steps)
        if self._config is None:
            return
        from zypp_plugin.screen import open_screen

        screen = open_screen(_zypper()) if self._config.terminal else None
        text, mood = self._last_words
        if self._listener is not None:
            import time

            draw_from = time.monotonic() + _QUICK

            def progress(done: int, total: int) -> None:
                if screen and time.monotonic() > draw_from:
                    screen.progress(done, total)

            word, message = self._listener.wait(
                until=self._started + self._config.wait, zypper=self._zypper_input, on_progress=progress
            )
            text, mood = _UNFINISHED.get(word, (str(message.get("line")), str(message.get("mood"))))
            self._listener = None
        self._config = None
        if text:
            self._say(text)
            if screen:
                screen.line(text, mood=mood)

    def _classify(self, steps: list[Step]) -> dict[str, str]:
        kinds = {step.name: transaction.kind_of(step.name, root=self._root) for step in steps}
        return {name: kind for name, kind in kinds.items() if kind}

    def _hand_over(self, steps: list[Step]) -> None:
        kinds = (
            self._classify(steps) | self._kinds
        )  # what was removed can only be told by what was there before
        concerned = [step for step in steps if step.name in kinds]
        if not concerned:
            return
        import time

        from host import config
        from host.errors import Error
        from zypp_plugin.channel import Listener
        from zypp_plugin.handoff import start_worker
        from zypp_plugin.job import Job, PackageStep

        self._started = time.monotonic()
        try:
            settings = config.load()
        except Error:  # the worker finds the same and reports it
            settings = config.Config()
        if not settings.enabled:
            return
        self._config = settings
        if not _installed():
            self._last_words = (f"Live patching: no process was patched, {_OURS} was removed", "partly")
            return
        packages = tuple(
            PackageStep(
                name=step.name,
                kind=kinds[step.name],
                action=step.action,
                stage=step.stage,
                evr=step.evr,
                before=tuple(self._versions.get(step.name, ())),
                before_known=not self._problem,
                cves_before=tuple(self._cves.get(step.name, ())),
                containers_before=tuple(self._containers.get(step.name, ())),
            )
            for step in concerned
        )
        problems = (f"What was installed before is unknown: {self._problem}",) if self._problem else ()
        listener = None
        try:
            listener = Listener() if settings.wait > 0 else None
            job = Job(
                root=self._outside or self._root,
                zypper=_zypper(),
                steps=packages,
                channel=listener.address if listener else "",
                problems=problems,
            )
            problem = start_worker(job.encode(), outside=bool(self._outside))
            if problem:
                self._say(f"{problem}; the worker was started without systemd")
            self._listener = listener
        except OSError as error:
            from zypp_plugin import journal

            text = f"Live patching: no process was patched, the worker cannot be started: {error.strerror}"
            self._last_words = (text, "bad")
            journal.write(text, priority=journal.ERROR)


def _installed() -> bool:
    """Tell whether the worker's code is still there: this commit may have removed us."""
    from zypp_plugin import handoff

    return os.path.exists(os.path.join(os.path.dirname(handoff.__file__), "worker.py"))


def _load_all() -> None:
    """Load what is loaded later elsewhere: this commit changes our own files, and old must not meet new."""
    import configparser
    import time

    from host import config, errors, rpmdb, terminal
    from ulp import installed
    from zypp_plugin import channel, handoff, job, journal, lookup, screen

    del channel, config, configparser, errors, handoff, installed, job, journal, lookup, rpmdb, screen
    del terminal, time


def _roots() -> tuple[str, str]:
    """Return where zypper installs to, and, inside of a snapshot, where that is for the machine that runs.

    In a transactional update that is the snapshot, seen from outside. In a shell of such an update
    (transactional-update shell, or run) it is "/", and the machine outside knows it by the path in the environment.
    """
    if not os.environ.get("TRANSACTIONAL_UPDATE"):
        return "/", ""
    from host.transactional import update_root
    from zypp_plugin.handoff import OUTSIDE

    root = update_root() or "/"
    outside = os.environ.get("TRANSACTIONAL_UPDATE_ROOT", "")
    if root == "/" and os.path.isabs(outside) and os.path.isdir(f"{OUTSIDE}{outside}"):
        return root, outside
    return root, ""


def _zypper() -> int:
    """Return the pid of zypper: libzypp puts it into the environment, older ones put 1 there."""
    text = os.environ.get("ZYPP_IS_RUNNING", "")
    return int(text) if text.isdigit() and int(text) > 1 else os.getppid()
