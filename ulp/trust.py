# SPDX-License-Identifier: GPL-2.0-or-later
"""Which live patches may be applied to all processes with nobody asking: those that an installed package put there.

A container is read once, from a file that only root can have written (host/trusted.py), and what was read has to have
the digest that the rpm database knows; that very content is what is applied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host.errors import BadDataError
from host.trusted import read_trusted
from ulp import container
from ulp.installed import DIRECTORY

if TYPE_CHECKING:
    from host.rpmdb import File, Package
    from ulp.container import Container


def files(package: Package) -> Iterator[File]:
    """Yield the files of a package that are live patches, or lead to some that are not its own."""
    place = f"/{DIRECTORY}/{package.name}/"
    own = {file.path for file in package.files if not file.link}
    for file in package.files:
        if file.path.startswith(place) and file.path.endswith(".so"):
            target = os.path.normpath(os.path.join(os.path.dirname(file.path), file.link))
            if not (file.link and target in own and target.startswith(place)):
                yield file


def read(file: File, *, root: str) -> Container:
    """Read one live patch; raises Error where it is damaged, hostile, gone, or not what the package has."""
    image = read_trusted(file.path, root=root, limit=container.SIZE_LIMIT)
    if not file.matches(image):
        raise BadDataError(
            f"{file.path} is not what its package put there", hint="'rpm -V' compares a package"
        )
    parsed = container.parse(image, path=os.path.join(root, file.path.lstrip("/")))
    container.verify(parsed)
    return parsed
