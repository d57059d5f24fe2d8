# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of downgrades share: five versions of two packages, a kernel to look at, and zyppers that misbehave.

The kernel is a directory that the packages' scripts write to, as the kernel would show it;
tests/system/test_klp_downgrade.py has a real one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import commits, rpms
from tests.support.documentation import contradictions
from tests.support.klp import NAME
from tests.support.rpms import Spec
from tests.support.sandbox import PLUGIN, Finished, Sandbox, sandbox
from tests.support.targets import Target

KERNEL = NAME
LIBRARY = "glibc-livepatches"
VERSIONS = range(1, 6)
RELEASE = "150600.2.1"
NOBODY_HAS = "what-nobody-has"  # and version 2 needs
# What SUSE's scripts do, and what can go wrong with that
LOAD = """\
test ! -e /run/fail || exit 1
test -z "$TRANSACTIONAL_UPDATE" || exit 0
test ! -e /run/leave || exit 0
test ! -e /run/slow || sleep 2
cd /sys/kernel/livepatch
rm -rf *
mkdir livepatch_{version}_150600_2_1
echo 1 > livepatch_{version}_150600_2_1/enabled
if test -e /run/stay; then echo 1; else echo 0; fi > livepatch_{version}_150600_2_1/transition
"""
NEWER, OLDER = "livepatch_4_150600_2_1", "livepatch_3_150600_2_1"


@contextmanager
def downgradable(work: Path) -> Iterator[Sandbox]:
    """A system whose repository has all versions of both packages; ``fresh`` installs version 4 of them."""
    with sandbox() as made:
        furnish(made, work)
        yield made


@contextmanager
def fresh(system: Sandbox) -> Iterator[Sandbox]:
    """The system with version 4 of both packages, and afterwards without what a test has set up."""
    system.install_plugin()
    install(system)
    yield system
    system.run(
        "sh",
        "-c",
        "rm -f /run/slow /run/fail /run/leave /run/stay /etc/zypp/locks /etc/sysconfig/livepatching",
    )
    system.run("sh", "-c", "rm -f /etc/zypp-livepatch.conf; : > /run/kmsg; echo 0 > /run/tainted")
    system.refresh()


def furnish(system: Sandbox, work: Path) -> None:
    """Give a system the packages and the kernel; ``work`` is an empty directory."""
    module = work / "livepatch.ko"
    module.write_bytes(b"")
    system.add_packages(*_libraries(), *map(_kernel(module), VERSIONS))
    system.run("mkdir", "/run/kernel")
    system.run("mount", "--bind", "/run/kernel", "/sys/kernel")
    for path, text in (("/dev/kmsg", ""), ("/proc/sys/kernel/tainted", "0\n")):
        file = f"/run/{path.rpartition('/')[2]}"
        system.write(file, text)
        system.run("mount", "--bind", file, path)


def install(system: Sandbox) -> None:
    """Install version 4 of both packages; the kernel runs it."""
    system.run("sh", "-c", "rm -rf /sys/kernel/livepatch; mkdir /sys/kernel/livepatch")
    files = [f"/srv/repository/{LIBRARY}-4-1.noarch.rpm", f"/srv/repository/{KERNEL}-4-{RELEASE}.noarch.rpm"]
    system.run("rpm", "-U", "--oldpackage", "--replacepkgs", *files)


def _libraries() -> list[Spec]:
    """The live patches are cumulative, as SUSE's are."""
    containers = commits.containers(count=len(VERSIONS))
    return [rpms.livepatch_spec(LIBRARY, containers[:version], version=str(version)) for version in VERSIONS]


def _kernel(module: Any) -> Any:
    running = os.uname().release

    def spec(version: int) -> Spec:
        return Spec(
            name=KERNEL,
            version=str(version),
            release=RELEASE,
            files={f"/lib/modules/{running}/livepatch/livepatch-{version}-150600_2_1.ko": module},
            # Lua, since a shell would have to be in some package
            scripts={
                "post -p <lua>": f"assert(rpm.execute('/bin/sh', '-c', [[{LOAD.format(version=version)}]]))"
            },
            tags=[f"Requires: {NOBODY_HAS}"] if version == 2 else [],
        )

    return spec


@contextmanager
def without_plugin(system: Sandbox) -> Iterator[None]:
    """Let zypper tell nobody; the next ``fresh`` brings the plugin back."""
    (system.root / PLUGIN).unlink()
    yield


@contextmanager
def zypper_as(system: Sandbox, script: str) -> Iterator[None]:
    """Let zypper be a script that leaves things as real zypper does when it is killed at the wrong moment."""
    system.run("mv", "/usr/bin/zypper", "/usr/bin/zypper-away")
    system.write("/usr/bin/zypper", f"#!/bin/sh\n{script}\n", mode=0o755)
    try:
        yield
    finally:
        system.run("mv", "/usr/bin/zypper-away", "/usr/bin/zypper")


def version(system: Sandbox, name: str, *, root: str = "/") -> str:
    """Return the installed version of a package."""
    return system.run("rpm", "--root", root, "--query", "--queryformat=%{version}", name).output


def answer(done: Finished) -> dict[str, Any]:
    """Return what a command has said as JSON; fails if that is not documented."""
    document: dict[str, Any] = json.loads(done.output)
    if "before" in document or "processes" in document:  # nothing has happened otherwise
        assert contradictions(document) == []
    return document


def answering(system: Sandbox, text: str | None, *words: str) -> Finished:
    """Run a command of ours in the sandbox with somebody who answers."""
    done = subprocess.run(
        system.argv(words),
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"LC_ALL": "C.UTF-8", "HOME": "/root"},
    )
    return Finished(status=done.returncode, output=done.stdout, errors=done.stderr)


def patched(system: Sandbox, process: Target) -> None:
    """Let a process hold the live patches of version 4."""
    container = f"/usr/lib64/{LIBRARY}/4/fix_livepatch4.so"
    system.run("ulp", "trigger", "-p", str(process.pid), container)
    assert process.answers()[0] == 500


def patches(system: Sandbox) -> dict[str, str]:
    """The kernel's live patches and whether they are enabled."""
    found = (system.root / "sys/kernel/livepatch").glob("*/enabled")
    return {path.parent.name: path.read_text().strip() for path in found}
