# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands run as an ordinary user, wherever the checkout is."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from tests.support.sandbox import PROJECT


def user(uid: int) -> tuple[str, ...]:
    """Return the words before a command that make a user of this number run it."""
    return "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"


NOBODY = user(65534)

# $1: the directory that others may not enter, $2: the project in it. In a mount namespace of its own an empty
# directory takes its place, with nothing but the project in it ("." is the project as it was before).
_OPEN = r"""
set -eu
shut=$1 project=$2
shift 2
umask 022
cd "$project"
mount -t tmpfs -o mode=755 checkout "$shut"
mkdir -p "$project"
mount --no-canonicalize --bind . "$project"
cd "$project"
exec "$@"
"""


def ordinary_user(words: Sequence[str] = NOBODY) -> list[str]:
    """Return the words before one of the project's commands that make nobody (or another ``user``) run it.

    A checkout in root's home, where others may not go, is put within reach of that command alone.
    """
    above = [*reversed(PROJECT.parents), PROJECT]
    shut = next((path for path in above if not path.stat().st_mode & stat.S_IXOTH), None)
    if shut is None:
        return list(words)
    unshare = ["unshare", "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", _OPEN, "sh", str(shut), str(PROJECT), *words]
