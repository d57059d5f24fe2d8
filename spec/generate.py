# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes what the package installs from the code: ``python3 -m spec.generate [DIRECTORY]``, ``build`` unless given.

    DIRECTORY/man/man1/ulp.1, …
    DIRECTORY/completions/bash/ulp, zsh/_ulp, fish/ulp.fish, …

The pages' date is SOURCE_DATE_EPOCH's (https://reproducible-builds.org/specs/source-date-epoch/), or today.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path

from spec import manual
from spec.completion import bash, fish, zsh
from spec.programs import PROGRAMS


def generate(directory: Path) -> list[Path]:
    """Write all files, and return where they are; raises OSError."""
    now = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    date = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    written = []
    for program in PROGRAMS:
        name, section = program.name, program.section
        texts = {
            f"man/man{section}/{name}.{section}": manual.page(program, date=date),
            f"completions/bash/{name}": bash.script(program),
            f"completions/zsh/_{name}": zsh.script(program),
            f"completions/fish/{name}.fish": fish.script(program),
        }
        for file, text in texts.items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    print(*generate(Path(sys.argv[1] if len(sys.argv) > 1 else "build")), sep="\n")
