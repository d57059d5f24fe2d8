# SPDX-License-Identifier: GPL-2.0-or-later
"""Until when live patches in use are maintained, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from host.rpmdb import compare
from host.terminal import Paint, sanitize
from lifecycle.expiry import Expiry, Standing


def expiry_lines(expiries: Iterable[Expiry], *, threshold: int, ink: Paint) -> Iterator[str]:
    """Yield a paragraph for each live patch, an empty line between two."""
    for number, expiry in enumerate(expiries):
        if number:
            yield ""
        standing = expiry.standing(threshold)
        colour = {Standing.COVERED: ink.good, Standing.EXPIRED: ink.bad}.get(standing, ink.warn)
        yield f"{sanitize(expiry.used.title)}: {colour(_verdict(expiry, standing, threshold))}"
        if not expiry.used.name:
            yield "    package: none"
            continue
        yield f"    package: {sanitize(f'{expiry.used.name} {expiry.used.edition}'.rstrip())}"
        if not expiry.is_installed:
            yield f"    installed: {sanitize(_installed(expiry))}"
        yield f"    newest: {sanitize(_newest(expiry))}"


def _verdict(expiry: Expiry, standing: Standing, threshold: int) -> str:
    if expiry.days is None:
        return "it is not known until when it is maintained"
    if standing is Standing.EXPIRED:
        return f"not maintained any more since {expiry.end}"
    days = "1 day is" if expiry.days == 1 else f"{expiry.days} days are"
    soon = f", not more than the {threshold} of the warning" if standing is Standing.EXPIRING else ""
    return f"maintained until {expiry.end}, {days} left{soon}"


def _installed(expiry: Expiry) -> str:
    if expiry.installed is None:
        return "no version, the package was removed"
    return f"{expiry.installed.edition}, which is not what runs"


def _newest(expiry: Expiry) -> str:
    newest = expiry.newest
    if newest is None:
        return "no repository has it"
    until = f", maintained until {expiry.newest_end}" if expiry.newest_end not in (None, expiry.end) else ""
    if compare(newest.edition, expiry.used.edition) <= 0:
        return f"there is no newer one in {newest.repository.name}"
    if expiry.installed is not None and compare(newest.edition, expiry.installed.evr) <= 0:
        return f"{newest.edition}, installed{until}"
    return f"{newest.edition}, from {newest.repository.name}{until}: 'zypper update {newest.name}'"
