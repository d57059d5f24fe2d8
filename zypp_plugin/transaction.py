# SPDX-License-Identifier: GPL-2.0-or-later
"""What a commit does, as libzypp tells it, and which of its packages are live patches.

The body of COMMITBEGIN and COMMITEND (libzypp's zypp/target/TargetImpl.cc) is ``{"TransactionStepList":
[{"type": "+"|"-"|"M", "stage": absent|"ok"|"err", "solvable": {"n", "v", "r", "a"[, "e"]}}]}``. The old
version that a new one replaces is not in the list: an installation, an update and a downgrade look alike.

Packages are told apart without the rpm database, because nearly every commit has none for us: a user-space
live patch keeps its containers under ``/usr/lib64/PACKAGE/``, a directory that other packages hardly ever
have; if it is there, ulp looks whether files in it are containers. Hot path: json is the only import
that costs.
"""

from __future__ import annotations

import json

from lifecycle.kinds import KERNEL_LIVE_PATCH, LIBRARY_LIVE_PATCHES

USERSPACE = "userspace"
KERNEL = "kernel"


class BadBody(ValueError):
    """The body of a frame is not a list of transaction steps."""


class Step:
    """One package that comes ("+", "M": beside others of its name) or goes ("-")."""

    __slots__ = ("action", "arch", "evr", "name", "stage")

    def __init__(self, *, action: str, stage: str, name: str, evr: str, arch: str) -> None:
        self.action = action
        self.stage = stage  # "": not done (yet), "ok", "err"
        self.name = name
        self.evr = evr  # [EPOCH:]VERSION-RELEASE
        self.arch = arch


def parse_steps(body: bytes) -> list[Step]:
    """Return the steps of a COMMITBEGIN or COMMITEND frame; raises BadBody."""
    try:
        steps = json.loads(body)["TransactionStepList"]
        return [step for item in steps if (step := _parse_step(item)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadBody(
            f"the body is not a list of transaction steps: {type(error).__name__}: {error}"[:200]
        ) from error


def _parse_step(item: dict[str, object]) -> Step | None:
    solvable = item["solvable"]
    if not isinstance(solvable, dict):
        raise TypeError("a solvable is not an object")
    name, version, release, arch = (solvable.get(key, "") for key in "nvra")
    epoch, stage = solvable.get("e", 0), item.get("stage", "")
    texts = (item["type"], stage, name, version, release, arch)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a step's words are not strings")
    if not name or "/" in name or "\0" in name or name.startswith("."):
        return None  # no package has such a name; it must not become a path
    prefix = f"{epoch}:" if epoch else ""
    return Step(
        action=str(item["type"]), stage=str(stage), name=name, evr=f"{prefix}{version}-{release}", arch=arch
    )


def kind_of(name: str, *, root: str) -> str:
    """Return USERSPACE or KERNEL for a live patch package as it is under ``root`` now, "" for any other."""
    if KERNEL_LIVE_PATCH.fullmatch(name):
        return KERNEL
    # a package so named concerns us whatever it contains: an empty or broken one is reported
    if name.endswith(LIBRARY_LIVE_PATCHES) or has_containers(name, root=root):
        return USERSPACE
    return ""


def has_containers(name: str, *, root: str) -> bool:
    """Tell whether the directory of package ``name`` holds a live patch container."""
    from ulp.installed import containers_of

    return next(containers_of(name, root=root), None) is not None
