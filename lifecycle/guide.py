# SPDX-License-Identifier: GPL-2.0-or-later
"""A downgrade as a person is led through it: what would be done, the question, the command, what came of it.

klp and ulp say what is to go back and look afterwards whether it did; what they have in common is here.
"""

from __future__ import annotations

import argparse
import enum
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from host import rpmdb, transactional, zypper
from host.errors import Error, ExitStatus, NotPermittedError, UsageError
from host.terminal import paint, sanitize, terminal_width, wrap
from lifecycle.downgrade import Move, Plan, Step

if TYPE_CHECKING:
    from lifecycle.packages import Packages

_COLUMN = 10  # of what is said behind a word
_WIDTH = 100


class State(enum.StrEnum):
    """What came of it."""

    POSSIBLE = "possible"  # a dry run
    DONE = "done"
    REBOOT = "reboot"  # done, and counts from the next boot on
    INCOMPLETE = "incomplete"  # begun, and something is not as it should be
    UNCHANGED = "unchanged"  # begun, and everything is as it was


_STATUS = {State.INCOMPLETE: ExitStatus.PARTLY, State.UNCHANGED: ExitStatus.FAILED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How things are now."""

    state: State
    sentence: str
    hint: str = ""
    status: ExitStatus | None = None  # another one than that of the state
    fields: Mapping[str, object] = field(default_factory=dict)  # for JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """All that can be said before it begins."""

    document: str  # of JSON
    subject: str  # what goes back, in a line
    plan: Plan
    notes: Sequence[str] = ()  # what one should know
    checked: Sequence[str] = ()  # what is in order
    problems: Sequence[str] = ()  # what could not be read
    is_transactional: bool = False
    snapshot: str = ""  # the one that is continued, where that is not the running system
    first: Sequence[tuple[str, ...]] = ()  # commands that have to be run before zypper's

    @property
    def command(self) -> tuple[str, ...]:
        """What is run."""
        wishes = [move.wish for move in self.plan.moves]
        return zypper.downgrade_command(wishes, transactional=self.is_transactional)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands have."""
    parser.add_argument("--to", metavar="VERSION", help="go back to this VERSION or VERSION-RELEASE")
    parser.add_argument("-n", "--non-interactive", action="store_true", help="do it without asking")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")


def check_options(options: argparse.Namespace) -> None:
    """Raise UsageError, NotPermittedError or Error where the command cannot even begin."""
    if options.dry_run:
        return
    if options.root != "/":
        raise UsageError("--root is for a look only: add --dry-run")
    if options.json and not options.non_interactive:
        raise UsageError("with --json nobody can be asked: add -n or --dry-run")
    if os.geteuid():
        raise NotPermittedError(
            "only root can change packages", hint="--dry-run shows what would be done, to anybody"
        )
    if transactional.update_root() is not None:
        raise Error(
            "this is a part of a transactional update, which cannot begin another one",
            hint="run it outside of 'transactional-update shell' and 'transactional-update run'",
        )


def travel(
    journey: Journey, options: argparse.Namespace, *, look: Callable[[zypper.Finished], Outcome]
) -> ExitStatus:
    """Show what is to be done, ask, do it, and tell what ``look`` finds afterwards.

    Raises Error where that is not what it should be.
    """
    if not options.json:
        print("\n".join(_shown(journey)))
    if options.dry_run:
        outcome = Outcome(state=State.POSSIBLE, sentence="It can be done; nothing was changed.")
        return _tell(journey, options, outcome, status=None)
    if not options.non_interactive and not _agreed():
        raise Error("nothing was changed", hint="-n goes on without asking")
    for command in journey.first:
        if not (done := zypper.run(command, to_errors=options.json)).good:
            raise Error(f"{zypper.explain(command, done)}; no package was changed")
    finished = zypper.run(journey.command, to_errors=options.json)
    if not options.json:
        print(flush=True)
    return _tell(journey, options, look(finished), status=finished.status)


def unchanged(command: Sequence[str], finished: zypper.Finished, *, now: str) -> Outcome:
    """Return what is to be told where a command failed and changed nothing; ``now`` is how things are."""
    is_locked = command[0] == "zypper" and finished.status == zypper.LOCKED
    return Outcome(
        state=State.UNCHANGED,
        sentence=f"{zypper.explain(command, finished)}; nothing was changed: {now}",
        hint="try again when it has finished" if is_locked else "",
        status=ExitStatus.BUSY if is_locked else None,
    )


def incomplete(
    command: Sequence[str],
    finished: zypper.Finished,
    *,
    now: str,
    hint: str = "",
    fields: Mapping[str, object] | None = None,
) -> Outcome:
    """Return what is to be told where something is not as it should be; ``now`` is how things are."""
    said = "" if finished.good else f"{zypper.explain(command, finished)}. "
    return Outcome(
        state=State.INCOMPLETE, sentence=f"{said}The state now: {now}", hint=hint, fields=fields or {}
    )


def continued(packages: Packages, names: Sequence[str]) -> list[str]:
    """Say where the snapshot that is changed has other versions of packages than the running system."""
    if not packages.snapshot:
        return []
    running = rpmdb.installed(names)
    notes = []
    for name in names:
        here = " and ".join(each.evr for each in running if each.name == name) or "none"
        there = " and ".join(each.evr for each in packages.installed if each.name == name) or "none"
        if here != there:
            notes.append(
                f"{packages.snapshot}, which is continued, has {name} {there}; the running system has {here}"
            )
    return notes


def next_boot(
    command: Sequence[str], finished: zypper.Finished, moves: Sequence[Move], *, now: str
) -> Outcome:
    """Return what is to be told of a transactional system; ``now`` is how things are until the next boot."""
    if not finished.good:
        return unchanged(command, finished, now=now)
    base = transactional.next_base()
    labels = " and ".join(move.target.label for move in moves)
    if not base.problem:
        there = {
            (each.name, each.evr)
            for each in rpmdb.installed([move.target.name for move in moves], root=base.snapshot or "/")
        }
        if not all((move.target.name, move.target.edition) in there for move in moves):
            found = " and ".join(f"{name}-{evr}" for name, evr in sorted(there)) or "none of the packages"
            return incomplete(command, finished, now=f"{found} will be there after the next boot, and {now}")
    return Outcome(
        state=State.REBOOT,
        sentence=f"{labels} is in the new snapshot and counts from the next boot on; until then {now}.",
        hint="'transactional-update reboot' boots in the way that is configured.",
    )


def _agreed() -> bool:
    sys.stdout.write("Continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer.endswith("\n"):
        print()
    return answer.strip().lower() in ("y", "yes")


def _shown(journey: Journey) -> Iterator[str]:
    width = min(terminal_width() or _WIDTH, _WIDTH)
    yield sanitize(journey.subject)
    for move in journey.plan.moves:
        yield ""
        yield from _entry("Package", move.package.name, width)
        yield from _entry("Now", move.package.evr, width)
        yield from _entry("Then", f"{move.target.edition}, from {move.target.repository.name}", width)
    plan = journey.plan
    yield from _entry("Needs", f"{_size(plan.download)} to download, {_size(plan.unpacked)} of room", width)
    for step in plan.others:
        yield from _entry("Also", _sentence(step), width)
    for note in journey.notes:
        yield from _entry("Note", note, width)
    yield from _entry("Checked", ", ".join(journey.checked), width)
    yield ""
    yield from (f"  {sanitize(shlex.join(command))}" for command in (*journey.first, journey.command))
    if journey.is_transactional:
        yield ""
        what = f"continues {journey.snapshot}" if journey.snapshot else "changes a snapshot"
        yield from wrap(f"This {what}: it counts from the next boot on.", width)
    yield ""


def _entry(word: str, text: str, width: int) -> Iterator[str]:
    for number, line in enumerate(wrap(sanitize(text), max(width - _COLUMN, 20))):
        yield f"{'' if number else word:{_COLUMN}}{line}".rstrip()


def _sentence(step: Step) -> str:
    if not step.before:
        return f"{step.name}-{step.after} is installed, too"
    return f"{step.name} goes from {step.before} to {step.after}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{-(-count >> 10)} KiB"


def _tell(
    journey: Journey, options: argparse.Namespace, outcome: Outcome, *, status: int | None
) -> ExitStatus:
    """Print what came of it; raises Error for people where it is not good."""
    ended = outcome.status or _STATUS.get(outcome.state, ExitStatus.OK)
    if options.json:
        _write_json(journey, options, outcome, status=status)
        return ended
    if ended != ExitStatus.OK:
        raise Error(outcome.sentence, hint=outcome.hint, status=ended)
    ink = paint(options.color)
    colour = ink.good if outcome.state is State.DONE else ink.strong
    print(colour(sanitize(outcome.sentence)))
    if outcome.hint:
        print(sanitize(outcome.hint))
    return ended


def _write_json(
    journey: Journey, options: argparse.Namespace, outcome: Outcome, *, status: int | None
) -> None:
    from host.json_output import write

    plan = journey.plan
    moves = [
        {
            "name": move.package.name,
            "arch": move.package.arch,
            "from": move.package.evr,
            "to": move.target.edition,
            "repository": move.target.repository.alias,
        }
        for move in plan.moves
    ]
    others = [{"name": each.name, "from": each.before or None, "to": each.after} for each in plan.others]
    write(
        journey.document,
        {
            "dry_run": bool(options.dry_run),
            "state": outcome.state,
            "sentence": outcome.sentence,
            "packages": moves,
            "others": others,
            "download": plan.download,
            "unpacked": plan.unpacked,
            "transactional": journey.is_transactional,
            "snapshot": journey.snapshot or None,
            "first": list(map(list, journey.first)),
            "command": list(journey.command),
            "command_status": status,
            "notes": list(journey.notes),
            "checked": list(journey.checked),
            "problems": list(journey.problems),
            **outcome.fields,
        },
    )
