# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a transition goes on: the answer that ``klp status`` prints and ``klp check`` ends with."""

from __future__ import annotations

from klp import sysfs


class Readiness:
    """The live patches in transition, and what could not be read beside them.

    Reading raises the first problem if nothing is seen in transition: then nobody knows. Raises what
    sysfs.in_transition raises.
    """

    def __init__(self, root: str) -> None:
        self.moving, self.problems = sysfs.in_transition(root)
        if self.problems and not self.moving:
            raise self.problems[0]

    @property
    def word(self) -> str:
        """The state as scripts know it."""
        return "in_progress" if self.moving else "ready"

    @property
    def sentences(self) -> list[str]:
        """What could not be read."""
        return [problem.sentence for problem in self.problems]

    def fields(self) -> dict[str, object]:
        """Return the fields of docs/json.md."""
        return {"state": self.word, "transitions": self.moving, "problems": self.sentences}
