# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands of klp have in common: options, and remarks beside the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from host.terminal import sanitize

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_common(parser: argparse.ArgumentParser, *, verbose: str = "changes nothing here") -> None:
    """Add the options that every command has; ``verbose`` is what -v does."""
    parser.add_argument("-v", "--verbose", action="count", default=0, help=verbose)
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="read the saved tree DIR instead of the running system"
    )
    parser.add_argument("--json", action="store_true", help="for programs (docs/json.md)")


def remark(sentences: Iterable[str]) -> None:
    """Print sentences to standard error, where they disturb no script."""
    for sentence in sentences:
        sys.stderr.write(f"klp: {sanitize(sentence)}\n")
