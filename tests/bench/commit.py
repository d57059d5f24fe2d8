# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commit plugin adds to a zypper transaction in which there is nothing for us.

Real zypper in the sandbox root of the tests installs and removes a package, alternately with the plugin in
its place and without it, and each pair gives one difference: what every zypper call pays on every machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench import machine
from tests.bench.report import Row, human, unbroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan
    from tests.bench.tools import Ulp
    from tests.support.sandbox import Sandbox

GOAL = 0.06  # seconds
PACKAGE = "nothing-for-us"
# As installed, where Python's bytecode is there already
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}


def run(plan: Plan) -> Iterator[Row]:
    """Measure pairs of transactions."""
    yield from _measure(plan, plan.ours)


@unbroken
def _measure(plan: Plan, tool: Ulp) -> Iterator[Row]:
    from tests.support import rpms, sandbox

    differences: dict[str, list[float]] = {"install": [], "remove": []}
    plain: dict[str, list[float]] = {"install": [], "remove": []}
    with sandbox.sandbox() as root:
        root.add_packages(rpms.Spec(name=PACKAGE))
        plugin = root.root / sandbox.PLUGIN
        for pair in range(plan.pairs + 1):
            seconds: dict[bool, dict[str, float]] = {}
            for present in (True, False) if pair % 2 else (False, True):
                if present:
                    root.install_plugin()
                else:
                    plugin.unlink(missing_ok=True)
                seconds[present] = {deed: _transaction(plan, root, deed) for deed in differences}
            if pair:  # the first one compiles the plugin and fills the page cache
                for deed, pairs in differences.items():
                    pairs.append(seconds[True][deed] - seconds[False][deed])
                    plain[deed].append(seconds[False][deed])
        log = root.log()
    answered = log.count("->send PluginFrame[COMMITEND]")
    expected = 2 * (plan.pairs + 1)
    wrong = "" if answered == expected else f"the plugin heard of {answered} transactions, not {expected}"
    if "Bad plugin response" in log:
        wrong = "zypper's log complains about the plugin's answers"
    for deed, values in differences.items():
        yield Row(
            benchmark="commit",
            case=f"zypper {deed}, with the plugin less without",
            tool=tool.name,
            values=tuple(values),
            goal=GOAL,
            touched={"transactions heard of": answered, "packages in each": 1},
            wrong=wrong,
            note=f"without it {human(sorted(plain[deed])[len(plain[deed]) // 2], 's')}",
        )


def _transaction(plan: Plan, root: Sandbox, deed: str) -> float:
    """Install or remove the package and return the seconds; raises AssertionError when it did not happen."""
    machine.wait_until_quiet(plan.patience)
    start = time.perf_counter()
    root.zypper(deed, PACKAGE, env=_ENVIRONMENT)
    seconds = time.perf_counter() - start
    found = root.run("rpm", "--query", PACKAGE, check=False).status == 0
    if found is not (deed == "install"):
        raise AssertionError(f"zypper {deed} left the package {'there' if found else 'absent'}")
    return seconds
