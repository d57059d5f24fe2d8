# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of /etc/sysconfig: shell assignments, read and never executed.

/etc/sysconfig/livepatching is shared with the RPM scripts of SUSE's live patch packages:
``LIVEPATCH_KERNEL`` and one ``LIVEPATCH_<COMPONENT>`` for each user-space package (``glibc-livepatches`` has
``LIVEPATCH_GLIBC``, ``openssl-1_1-livepatches`` has ``LIVEPATCH_OPENSSL_1_1``), each ``auto``, ``always`` or
``never``.
"""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LIVEPATCHING = "etc/sysconfig/livepatching"
_WORD = r"""(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\;&|<>()])*"""
_ASSIGNMENT = re.compile(rf"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=({_WORD})(?:\s+#.*|\s*)")
_LARGEST = 1 << 20  # bytes


class When(enum.StrEnum):
    """Whether a live patch is applied when its package is installed."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True, slots=True)
class Livepatching:
    """/etc/sysconfig/livepatching; ``problems`` are sentences about what could not be understood."""

    values: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def when(self, variable: str) -> tuple[When, str]:
        """Return what a variable says (AUTO if it is not set), and a sentence if its value is none."""
        value = self.values.get(variable, "")
        try:
            return When(value.strip().lower() or When.AUTO), ""
        except ValueError:
            problem = f"/{LIVEPATCHING}: {variable} is {value!r}, not auto, always or never; taken as auto"
            return When.AUTO, problem


def variable_for(package: str) -> str:
    """Return the variable for a user-space live patch package."""
    component = package.removesuffix("-livepatches")
    return "LIVEPATCH_" + re.sub(r"[^A-Za-z0-9]", "_", component).upper()


def read_livepatching(*, root: str = "/") -> Livepatching:
    """Read /etc/sysconfig/livepatching under a root; never raises, a missing file has no values."""
    path = Path(root, LIVEPATCHING)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST)
    except FileNotFoundError:
        return Livepatching()
    except OSError as error:
        return Livepatching(problems=(f"/{LIVEPATCHING} cannot be read: {error.strerror}",))
    values, problems = parse(data.decode(errors="replace"))
    return Livepatching(values=values, problems=tuple(f"/{LIVEPATCHING}: {problem}" for problem in problems))


def parse(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the assignments of a sysconfig file (the last of a name counts), and what makes no sense.

    Quotes and backslashes are the shell's; nothing is expanded, so ``$HOME`` stays as it is written.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            problems.append(f"line {number} is not NAME=VALUE")
        else:
            values[match[1]] = "".join(shlex.split(match[2]))
    return values, problems
