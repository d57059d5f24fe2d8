# SPDX-License-Identifier: GPL-2.0-or-later
"""Signs RPM packages with a key that is made on the spot."""

from __future__ import annotations

import subprocess
from pathlib import Path

_NAME = "A Test"


class Signing:
    """A key in a directory of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", _NAME, "rsa2048", "sign", "never")

    def sign(self, *packages: Path) -> None:
        """Sign packages."""
        words = ["rpmsign", "--define", f"_gpg_name {_NAME}", "--define", f"_gpg_path {self._home}"]
        words += ["--define", "__gpg /usr/bin/gpg", "--addsign", *map(str, packages)]
        subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "gpg-agent"], check=True)

    def trust(self, root: Path) -> None:
        """Let the rpm database under a root know the key."""
        key = root.parent / "key.asc"
        key.write_bytes(self._gpg("--armor", "--export", _NAME))
        words = ["rpm", f"--root={root}", "--import", str(key)]
        subprocess.run(words, check=True, capture_output=True)

    def _gpg(self, *words: str) -> bytes:
        command: list[str | Path] = ["gpg", "--batch", "--quiet", "--homedir", self._home, *words]
        return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
