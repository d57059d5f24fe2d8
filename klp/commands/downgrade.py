# SPDX-License-Identifier: GPL-2.0-or-later
"""Go back to the live patch before the one that the kernel runs.

Looks first whether that can be done: whether a transition goes on, whether the kernel has warned or crashed (then
nobody knows what a further change meets), whether a repository still has the older package, and whether zypper would
install it. Then the command is shown and, after a question, run. At the end it is the kernel that says what is in
effect. On a transactional system the change counts from the next boot on.

Exit status:
  0   the older live patch is in effect (transactional systems: it waits for the
      next boot)
  1   refused, or not wanted: nothing was changed
  2   there is nothing to go back to
  3   begun, and not as it should be: what is said tells the state
  75  a transition goes on, or another zypper is at work: nothing was changed
  77  only root may do it

Examples:
  klp downgrade --dry-run
  klp downgrade --to 3-150600.2.1
  klp -n downgrade
"""

from __future__ import annotations

from host.errors import Error, ExitStatus
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from klp.running import Running
    from lifecycle.downgrade import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from lifecycle import guide

    guide.add_arguments(parser)
    parser.add_argument(
        "--ignore-kernel-trouble",
        action="store_true",
        help="go on although the kernel has warned or crashed",
    )
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Go back."""
    from host import config
    from host.transactional import Base, is_transactional, next_base
    from klp import downgrade
    from klp.health import read_health
    from lifecycle import guide
    from lifecycle.downgrade import check_room, choose, installed_package, plan, read_packages

    guide.check_options(options)
    root = options.root
    patience = config.load(root=root).transition
    transactional = is_transactional(root)
    base = next_base(root) if transactional else Base()
    downgrade.check_transition(root)
    running = downgrade.running_package(root)
    health = read_health(root)
    if not health.is_fine and not options.ignore_kernel_trouble:
        raise Error(
            health.sentence,
            hint="reboot is the safe way; --ignore-kernel-trouble goes on if you know what that was",
        )
    notes = [health.sentence] if not health.is_fine else []
    notes += filter(
        None, [downgrade.check_loading(root, is_transactional=transactional, snapshot=base.snapshot)]
    )
    packages = read_packages(root, snapshot=base.snapshot)
    package = installed_package(packages, running.name)
    if running.is_initial and options.to is None:
        raise Error(
            f"{running.patch.name} is the initial live patch: there is none before it",
            status=ExitStatus.NOTHING_MATCHED,
        )
    move = choose(packages, package, below=running.edition, to=options.to)
    made = plan(packages, [move])
    check_room(made, packages, root=root)
    journey = guide.Journey(
        document="klp-downgrade",
        subject=f"The kernel runs {running.patch.name}, version {running.edition} of its live patch",
        plan=made,
        notes=[
            *notes,
            *guide.continued(packages, [running.name]),
            *_notes(running, made, snapshot=base.snapshot),
        ],
        checked=_checked(health.problem),
        problems=[*packages.problems, *filter(None, [health.problem, base.problem])],
        is_transactional=transactional,
        snapshot=base.snapshot,
        first=() if transactional else downgrade.unload_first(move, root),
    )
    remark(journey.problems)
    judge = downgrade.Judge(
        move=move,
        before=running,
        command=journey.command,
        is_transactional=transactional,
        patience=patience,
        root=root,
    )
    return guide.travel(journey, options, look=judge.look)


def _notes(running: Running, made: Plan, *, snapshot: str) -> list[str]:
    [move] = made.moves
    notes = []
    if move.package.evr != running.edition and not snapshot:
        notes.append(f"installed is {move.package.evr}, which the kernel does not run")
    if move.target.edition.startswith("1-"):
        notes.append(f"{move.target.edition} is the initial live patch, which fixes nothing")
    if move.target.retracted:
        notes.append(f"{move.target.edition} has been retracted by its vendor")
    return notes


def _checked(problem_of_log: str) -> list[str]:
    trouble = "taint flags" if problem_of_log else "taint flags and log of the kernel"
    return ["no transition", trouble, "repositories", "locks", "dependencies", "free space"]
