# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that runs, and the live patch modules that lie on disk for it."""

from __future__ import annotations

import os

from host.errors import BadDataError, NotPermittedError
from klp import sysfs

# Where modules lie: /lib is a link on merged systems, and a package may name either path.
MODULE_FOLDERS = ("lib/modules", "usr/lib/modules")


def release(root: str = "/") -> str:
    """Return what ``uname -r`` says; raises BadDataError if the tree does not tell."""
    path = os.path.join(root, "proc/sys/kernel/osrelease")
    text = sysfs.text(path).strip()
    if not text or "/" in text or text.startswith("."):
        raise BadDataError(f"{path} does not tell which kernel runs")
    return text


def module_files(root: str = "/") -> dict[str, str]:
    """Return the live patch modules of the running kernel: paths as seen inside of the root, and their names.

    A file appears by either of its paths where one folder is a link to the other. Raises BadDataError if the
    tree does not tell which kernel runs, NotPermittedError if a folder may not be looked into.
    """
    running = release(root)
    return {
        f"/{folder}/{running}/livepatch/{name}": module_name(name)
        for folder in MODULE_FOLDERS
        for name in listed(os.path.join(root, folder, running, "livepatch"))
        if ".ko" in name
    }


def listed(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none where there is none. Raises NotPermittedError."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NotPermittedError(f"{folder} cannot be read: {error.strerror}") from error


def module_name(file_name: str) -> str:
    """Return what the kernel calls the module in a file of this name."""
    return file_name.partition(".ko")[0].replace("-", "_")
