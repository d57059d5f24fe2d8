# SPDX-License-Identifier: GPL-2.0-or-later
"""Tell until when the live patches that the kernel runs are maintained.

For each one: the date and the days that are left, its package, the newest one that repositories have, and what is
installed where that is not what runs. Repositories are not refreshed: what zypper fetched last counts. The number of
days from which on it warns is warn-days under [lifecycle] in the configuration.

Exit status:
  0   maintained for longer than that
  1   maintained, but not for more than so many days
  2   not maintained any more, or nobody knows; or the kernel runs no live patch

Examples:
  klp lifecycle
  klp lifecycle --json
"""

from __future__ import annotations

from host.errors import ExitStatus
from klp.output import add_common, remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from klp.running import Running
    from lifecycle.expiry import Used


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_common(parser)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the dates."""
    from host import config
    from klp.running import find_running
    from lifecycle.expiry import Calendar, exit_status, fields, worst

    threshold = config.load(root=options.root).warn_days
    found, problem = find_running(options.root)
    calendar = Calendar(options.root)
    expiries = [calendar.expiry(_used(running)) for running in found]
    problems = [*calendar.problems, *([problem.sentence] if problem else [])]
    if options.json:
        from host.json_output import write

        more = [{"patch": running.patch.name} for running in found]
        common = fields(expiries, threshold=threshold, today=calendar.today, more=more)
        write("klp-lifecycle", {**common, "problems": problems})
    else:
        from host.terminal import paint
        from lifecycle.expiry_layout import expiry_lines

        for line in expiry_lines(expiries, threshold=threshold, ink=paint(options.color)):
            print(line)
        remark(problems if expiries else [*problems, "the kernel runs no live patch"])
    return exit_status(worst(expiries, threshold))


def _used(running: Running) -> Used:
    from lifecycle.expiry import Used

    return Used(name=running.name, edition=running.edition, title=running.patch.name)
