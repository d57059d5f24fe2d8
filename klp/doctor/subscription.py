# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a product's kernel live patches come from: a module that has to be activated, and a pattern.

SLE 15 has the module sle-module-live-patching, SLE 12 the extension sle-live-patching, both with the pattern lp_sles.
SLE Micro 5 takes the module of the SLE 15 that it is made of. From SLES 16 and SL Micro 6.2 on the product itself
has the pattern kernel_livepatching. (SUSE's documentation, "Kernel live patching", and its openQA tests.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from lifecycle.products import Product

_MODULE, _EXTENSION = "sle-module-live-patching", "sle-live-patching"
_OLD_PATTERN, _NEW_PATTERN = "lp_sles", "kernel_livepatching"
_DRACUT = "dracut --force --kver {}"
_MICRO = ("SLE-Micro", "SUSE-MicroOS", "SLE-Micro-Rancher", "SL-Micro")
_MICRO_BASES = {"5.0": "15.2", "5.1": "15.3", "5.2": "15.3", "5.3": "15.4", "5.4": "15.4", "5.5": "15.5"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """How one gets live patches; what is empty is not needed, or not known."""

    is_known: bool  # whether live patches are made for the product
    module: str = ""
    has_module: bool = True
    patterns: tuple[str, ...] = ()  # any of which will do
    activate: str = ""  # command
    install: str = ""  # command for the pattern
    data: str = ""  # package with lifecycle data
    manager: str = "zypper"  # command that installs
    rebuild: str = _DRACUT  # command that makes an initrd; {}: the kernel's release


def subscription(base: Product | None, *, installed: frozenset[str], transactional: bool) -> Subscription:
    """Return how the base product's live patches are had; ``installed`` are the names of all products."""
    if base is None:
        return Subscription(is_known=False)
    major, _, minor = base.version.partition(".")
    micro = base.name in _MICRO
    transactional = transactional or micro
    manager = "transactional-update pkg" if transactional else "zypper"
    rebuild = "transactional-update initrd" if transactional else _DRACUT
    if (micro and base.version in _MICRO_BASES) or (base.name.startswith("SLE") and major in ("12", "15")):
        module = _EXTENSION if major == "12" else _MODULE
        version = _MICRO_BASES[base.version] if micro else base.version
        register = "transactional-update register" if transactional else "SUSEConnect"
        return Subscription(
            is_known=True,
            module=module,
            has_module=module in installed,
            patterns=(_OLD_PATTERN,),
            activate=f"{register} -p {module}/{version}/{os.uname().machine}",
            install=f"{manager} install -t pattern {_OLD_PATTERN}",
            data=f"lifecycle-data-{module}",
            manager=manager,
            rebuild=rebuild,
        )
    newer = (major.isdecimal() and int(major) >= 16) or (micro and major == "6" and minor not in ("0", "1"))
    if newer and base.name.startswith(("SLE", "SL-Micro")):
        return Subscription(
            is_known=True,
            patterns=(_NEW_PATTERN,),
            install=f"{manager} install -t pattern {_NEW_PATTERN}",
            manager=manager,
            rebuild=rebuild,
        )
    if micro:  # of these only the pattern is known
        return Subscription(
            is_known=True,
            patterns=(_OLD_PATTERN, _NEW_PATTERN),
            install="SUSEConnect --list-extensions",
            manager=manager,
            rebuild=rebuild,
        )
    return Subscription(is_known=False)
