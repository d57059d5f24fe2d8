# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds out how the machine stands, part by part; a part that cannot be looked at is unknown, and the others count."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from host import clock
from host.errors import Error, NoInputError
from host.names import command
from zypp_plugin.overview import Finding, Overview, Processes, Standing, Support

if TYPE_CHECKING:
    from klp.cves import Answer
    from ulp.verdict import Verdict

REBOOT = "/run/reboot-needed"  # libzypp and zypp-boot-plugin make it
_SOON = datetime.timedelta(days=30)
_NAMED = 3


def look(*, cve: str = "") -> Overview:
    """Look at everything; ``cve`` is a number as klp.cves.normalize returns it.

    Whoever asks for a CVE that is fixed everywhere is not answered with what else could be done.
    """
    from ulp.report import REMEDIES

    verdict, user = _user_space(cve)
    kernel_patches, kernel = _kernel(cve)
    supports, support = _support()
    processes = Processes()
    restarts: tuple[str, ...] = ()
    if verdict is not None:
        processes = Processes(
            covered=len(verdict.covered),
            patchable=verdict.patchable,
            stuck=len(verdict.stuck),
            unseen=len(verdict.unseen),
        )
        # where nothing else is known to help
        restarts = tuple(f"{row.name} ({row.pid})" for row in verdict.stuck if row.reason not in REMEDIES)
    findings = [*user, *kernel]
    if not findings:
        what = f"names {cve}" if cve else "is installed or applied"
        findings.append(
            Finding(part="processes", standing=Standing.UNKNOWN, sentence=f"no live patch {what}")
        )
    runs, later = _watcher(needed=verdict is not None and verdict.patches > 0)
    reboot = os.path.exists(REBOOT)
    answered = cve != "" and all(each.standing is Standing.COVERED for each in findings)
    more = [] if answered else [*_exemptions(), *support]
    if reboot and not answered:
        action = f"systemctl reboot, or see what wants it in {REBOOT}"
        findings.append(
            Finding(part="reboot", standing=Standing.TODO, sentence="a reboot is asked for", action=action)
        )
    return Overview(
        cve=cve,
        findings=(*findings, *later, *more),
        processes=processes,
        restarts=restarts,
        reboot=reboot,
        kernel=kernel_patches,
        supports=supports,
        watcher=runs,
    )


def _user_space(cve: str) -> tuple[Verdict | None, list[Finding]]:
    from ulp import hidden, installed
    from ulp.assess import assess
    from ulp.container import find_labels
    from ulp.coverage import Question

    label = (find_labels(cve) or ("",))[0]
    if cve and not label:  # a tracker that live patches for libraries do not name
        return None, []
    try:
        containers, problems = installed.find()
        verdict, _ = assess(
            Question(label=label), containers=containers, problems=problems, exempt=_exempt()
        )
    except NoInputError:
        return None, []  # no live patch names it: it is for the kernel to say
    except Error as error:
        return None, [Finding(part="processes", standing=Standing.UNKNOWN, sentence=error.sentence)]
    if not verdict.patches:
        return None, []
    standing = Standing.COVERED
    if verdict.stuck:
        standing = Standing.NOT_COVERED
    elif verdict.patchable:
        standing = Standing.TODO
    elif verdict.unseen or verdict.problems:
        standing = Standing.UNKNOWN
    sentence = verdict.sentence
    if verdict.unseen:
        sentence += f"; {hidden.sentence(verdict.unseen)}"
    for problem in verdict.problems[:1]:
        sentence += f"; {problem.sentence}"
    action = "; ".join(verdict.hints()) or ("look as root" if verdict.unseen and os.geteuid() else "")
    return verdict, [Finding(part="processes", standing=standing, sentence=sentence, action=action)]


def _exempt() -> Callable[[int], str] | None:
    from host import exclusions

    try:
        return exclusions.load().process
    except Error:  # told by _exemptions
        return None


def _exemptions() -> Iterator[Finding]:
    from host import exclusions

    try:
        exclusions.load()
    except Error as error:
        sentence = f"live patches are not applied automatically: {error.sentence}"
        yield Finding(part="exemptions", standing=Standing.TODO, sentence=sentence, action=error.hint)


def _kernel(cve: str) -> tuple[tuple[tuple[str, str], ...], list[Finding]]:
    """Return the kernel's live patches with how each stands, and what is to be said of the newest."""
    from klp.kernel import module_files
    from klp.model import read_patches

    try:
        patches = read_patches()
        on_disk = list(dict.fromkeys(module_files().values()))
    except Error as error:
        return (), [Finding(part="kernel", standing=Standing.UNKNOWN, sentence=error.sentence)]
    stands = dict.fromkeys(on_disk, "not-loaded") | {
        patch.name: "in-transition" if patch.transition else "in-effect" if patch.in_effect else "disabled"
        for patch in patches
    }
    if cve:
        return tuple(stands.items()), _kernel_cve(cve)
    if not stands:
        return (), []
    words = stands.values()
    if "in-transition" in words:
        name = next(name for name, word in stands.items() if word == "in-transition")
        found = Finding(
            part="kernel",
            standing=Standing.TODO,
            sentence=f"the kernel live patch {name} is in transition",
            action=f"{command('klp wait')}; {command('klp blocking -v')} names what it waits for",
        )
    elif "in-effect" in words:
        names = ", ".join(name for name, word in stands.items() if word == "in-effect")
        found = Finding(
            part="kernel", standing=Standing.COVERED, sentence=f"kernel live patch {names} is in effect"
        )
    else:
        found = Finding(
            part="kernel",
            standing=Standing.NOT_COVERED,
            sentence=f"no kernel live patch is in effect, though {', '.join(stands)} "
            f"{'is' if len(stands) == 1 else 'are'} installed",
            action=f"modprobe {next(iter(stands))}, or see LIVEPATCH_KERNEL in /etc/sysconfig/livepatching",
        )
    return tuple(stands.items()), [found]


def _kernel_cve(cve: str) -> list[Finding]:
    from klp.cves import look_up

    try:
        found = look_up([cve])
    except Error as error:
        return [Finding(part="kernel", standing=Standing.UNKNOWN, sentence=error.sentence)]
    [answer] = found.answers
    if answer.is_known:
        return [_of_answer(cve, answer)]
    return [
        Finding(part="kernel", standing=Standing.UNKNOWN, sentence=problem.sentence)
        for problem in found.problems[:1]
    ]


def _of_answer(cve: str, answer: Answer) -> Finding:
    from klp.cves import Reason

    by = answer.patch or answer.package
    sentence, standing, action = {
        Reason.LIVE_PATCH: (f"the kernel has the fix by the live patch {by}", Standing.COVERED, ""),
        Reason.KERNEL: (f"the kernel itself has the fix ({by})", Standing.COVERED, ""),
        Reason.APPLYING: (
            f"the kernel live patch {by} fixes it and is in transition",
            Standing.TODO,
            command("klp wait"),
        ),
    }.get(
        answer.reason,
        (
            f"the kernel live patch {by} fixes it and is not in use",
            Standing.NOT_COVERED,
            command("klp patches -v"),
        ),
    )
    return Finding(part="kernel", standing=standing, sentence=sentence, action=action)


def _watcher(*, needed: bool) -> tuple[bool, list[Finding]]:
    from ulp.watch import presence

    try:
        state = presence.read()
    except Error as error:
        return False, [Finding(part="later", standing=Standing.UNKNOWN, sentence=error.sentence)]
    if not needed:
        return state is not None, []
    if state is None:
        text = "processes that start later are not patched"
        action = f"systemctl enable --now {presence.UNIT.removesuffix('.service')}, if that is wanted"
        return False, [Finding(part="later", standing=Standing.COVERED, sentence=text, action=action)]
    standing = Standing.TODO if state.problem else Standing.COVERED
    text = state.problem or f"processes that start later are patched, {state.patched} so far"
    return True, [Finding(part="later", standing=standing, sentence=text)]


def _support() -> tuple[tuple[Support, ...], list[Finding]]:
    """Return until when live patch packages are maintained, and what is to be said of that and of updates."""
    from lifecycle.data import read_data
    from lifecycle.packages import Packages
    from lifecycle.products import read_products
    from lifecycle.support import package_support

    today = clock.today()
    try:
        products = read_products("/")
        data = read_data((product.name for product in products), root="/")
        release = products[0].version if products and products[0].base else ""
        found = package_support(Packages("/", release=release), data, today=today)
    except Error as error:
        text = f"until when live patches are maintained is not known: {error.sentence}"
        return (), [Finding(part="support", standing=Standing.COVERED, sentence=text)]
    supports = tuple(
        Support(
            package=each.package.name,
            evr=each.package.evr,
            until=today if each.end.is_known and each.end.date is None else each.end.date,
            update=each.update.edition if each.update else "",
        )
        for each in found
        if each.is_live_patch
    )
    return supports, [*_ends(supports, today), *_updates(supports)]


def _ends(supports: tuple[Support, ...], today: datetime.date) -> Iterator[Finding]:
    for each in supports:
        if each.until is not None and each.until <= today + _SOON:
            over = each.until <= today
            verb = "is not maintained any more" if over else f"is maintained until {each.until} only"
            yield Finding(
                part="support",
                standing=Standing.TODO,
                sentence=f"{each.package} {verb}",
                action="update the kernel or library itself; zypper lifecycle shows all dates",
            )


def _updates(supports: tuple[Support, ...]) -> Iterator[Finding]:
    new = [each for each in supports if each.update]
    if new:
        names = ", ".join(f"{each.package} {each.update}" for each in new[:_NAMED])
        more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
        yield Finding(
            part="updates",
            standing=Standing.TODO,
            sentence=f"a newer live patch is available: {names}{more}",
            action=f"zypper update {' '.join(each.package for each in new)}",
        )
